//! A server that runs beside a test, on a free port of 127.0.0.1.

use std::{net::Ipv4Addr, sync::Arc, thread};

use tokio::{net::TcpListener, sync::Notify};

/// A running server. Dropping it closes its port and every connection.
pub struct Background {
    port: u16,
    closing: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    /// Runs `serve` until it is not needed any more.
    pub fn run<Served: Future<Output = ()>>(serve: impl FnOnce(TcpListener) -> Served + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let closing = Arc::new(Notify::new());
        let ended = Arc::clone(&closing);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(TcpListener::from_std(listener).unwrap()) => {}
                    () = ended.notified() => {}
                }
            });
        });
        Self { port, closing, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.closing.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
