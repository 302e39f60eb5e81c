//! The wire between finmcp and a server, which breaks where the test says.

use std::{
    future::pending,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::broadcast,
    time::sleep,
};

use super::background::Background;

/// A proxy for TCP connections. Dropping it closes its port and every connection.
pub struct Wire {
    background: Background,
    shared: Arc<Shared>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Request,
    Response,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Both ends see it reset.
    Reset,
    /// Nothing more comes this way, and the receiver sees that; the other way stays open.
    HalfClose,
    /// What comes this way comes later.
    Delay(Duration),
    /// What comes this way comes byte by byte, with a pause after each.
    Drip(Duration),
    /// Nothing comes any more either way, and neither side is told.
    Blackhole,
}

struct Shared {
    server: u16,
    /// What is to happen once so many more bytes have passed that way.
    plan: Mutex<Option<(Way, usize, Fault)>>,
    passed: [AtomicUsize; 2],
    connections: AtomicUsize,
    everywhere: broadcast::Sender<Fault>,
}

impl Wire {
    /// A wire to this port of 127.0.0.1.
    pub fn to(server: u16) -> Self {
        let shared = Arc::new(Shared {
            server,
            plan: Mutex::default(),
            passed: Default::default(),
            connections: AtomicUsize::new(0),
            everywhere: broadcast::Sender::new(16),
        });
        let served = Arc::clone(&shared);
        Self { background: Background::run(|listener| accept(listener, served)), shared }
    }

    /// The MCP endpoint of the vendor at the other end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.background.port())
    }

    /// Lets `after` more bytes pass that way, and does this to the connection of the next one, in its place.
    pub fn plan(&self, way: Way, after: usize, fault: Fault) {
        *self.shared.plan.lock().unwrap() = Some((way, after, fault));
    }

    /// Whether nothing is planned any more.
    pub fn is_done(&self) -> bool {
        self.shared.plan.lock().unwrap().is_none()
    }

    /// Does this to every connection there is, now: a [`Fault::Reset`], a [`Fault::Blackhole`], or else an orderly end.
    pub fn strike(&self, fault: Fault) {
        let _ = self.shared.everywhere.send(fault);
    }

    /// How many bytes have come that way so far.
    pub fn passed(&self, way: Way) -> usize {
        self.shared.passed[way as usize].load(Ordering::SeqCst)
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// What happens among these bytes, and after how many of them.
    fn due(&self, way: Way, length: usize) -> Option<(usize, Fault)> {
        self.passed[way as usize].fetch_add(length, Ordering::SeqCst);
        let mut plan = self.plan.lock().unwrap();
        let (_, left, fault) = plan.as_mut().filter(|(planned, ..)| *planned == way)?;
        if *left >= length {
            *left -= length;
            return None;
        }
        let due = (*left, *fault);
        *plan = None;
        Some(due)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(connect(client, Arc::clone(&shared)));
    }
}

/// Carries one connection for as long as it lasts.
async fn connect(mut client: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut struck = shared.everywhere.subscribe();
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let fault = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = carry(Way::Request, from_client, to_server, &shared);
        let back = carry(Way::Response, from_server, to_client, &shared);
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.err(),
            fault = struck.recv() => fault.ok(),
        }
    };
    match fault {
        Some(Fault::Reset) => {
            client.set_zero_linger()?;
            server.set_zero_linger()
        }
        Some(Fault::Blackhole) => pending().await,
        _ => Ok(()),
    }
}

/// Carries bytes one way, up to their end or to a fault that ends both ways.
async fn carry(way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) -> Result<(), Fault> {
    let broken = |_| Fault::Reset;
    let mut chunk = vec![0; 16 << 10];
    let mut pause = None;
    loop {
        let length = from.read(&mut chunk).await.map_err(broken)?;
        if length == 0 {
            break;
        }
        let mut bytes = &chunk[..length];
        if let Some((after, fault)) = shared.due(way, length) {
            to.write_all(&bytes[..after]).await.map_err(broken)?;
            bytes = &bytes[after..];
            match fault {
                Fault::Reset | Fault::Blackhole => return Err(fault),
                Fault::HalfClose => break,
                Fault::Delay(delay) => sleep(delay).await,
                Fault::Drip(between) => pause = Some(between),
            }
        }
        let Some(pause) = pause else {
            to.write_all(bytes).await.map_err(broken)?;
            continue;
        };
        for byte in bytes {
            to.write_all(&[*byte]).await.map_err(broken)?;
            sleep(pause).await;
        }
    }
    to.shutdown().await.map_err(broken)
}
