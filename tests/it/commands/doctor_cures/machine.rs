//! This machine's clock and network, bent by libraries that `tests/run.sh` installs.

use super::*;

/// What the server refuses is signed with this machine's time: the clock alone is to blame.
#[test]
fn cure_a_clock_that_is_a_day_off() {
    let Some(library) = faketime() else { panic!("libfaketime is missing; run this test by tests/run.sh") };
    // A token that only this machine takes for expired, and proofs that the server takes for old.
    for script in [
        Script { refresh_tokens: false, ..Script::people() },
        Script { dpop: Some(Dpop::Challenged), refresh_tokens: false, ..Script::people() },
    ] {
        let is_bound = script.dpop.is_some();
        let (mut sandbox, _vendor, _browser) = books(script);
        sandbox.set("LD_PRELOAD", &library);
        sandbox.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        sandbox.set("FAKETIME", if is_bound { "-1d" } else { "+1d" });
        let side = if is_bound { "behind" } else { "ahead of" };
        let wrong = format!("h {side} the server's");
        let said = diagnose(&sandbox, &["books"], "clock", &[&wrong]);
        said.advises("set this machine's clock");
        for name in ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"] {
            sandbox.unset(name);
        }
        if is_bound {
            // The refused proof has ended the sign-in, as the report says.
            carry_out(&sandbox, &said.command("finmcp login"));
        }
        expect_green(&sandbox, &["books"]);
    }
}

/// Where `tests/run.sh` installs it.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

/// An address of IPv6 that drops everything beside one of IPv4 that works: nothing is wrong, and nothing waits long.
#[cfg(target_os = "linux")]
#[test]
fn a_black_hole_of_ipv6_is_passed_by() {
    use std::{net::TcpStream, time::Instant};

    let Some(library) = nss_wrapper() else { panic!("libnss-wrapper is missing; run this test by tests/run.sh") };
    let vendor = open_server();
    // The queue of a listener that accepts nothing fills up, and what comes then is dropped.
    let address: std::net::SocketAddr = format!("[::1]:{}", vendor.port()).parse().unwrap();
    let hole = listen_briefly(address);
    let fillers: Vec<_> =
        (0..8).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()).collect();
    assert!(fillers.iter().any(Option::is_none), "connections are dropped");
    let mut sandbox = Sandbox::new();
    sandbox.set("NSS_WRAPPER_HOSTS", sandbox.give("hosts", "::1 localhost\n127.0.0.1 localhost\n"));
    sandbox.set("LD_PRELOAD", library);
    let url = format!("http://localhost:{}/mcp", vendor.port());
    let begun = Instant::now();
    let run = sandbox.finmcp(["doctor", "--json", &url]);
    let report = report(&run, 0);
    let dns = steps(&report).find(|step| step["step"] == "dns").unwrap();
    assert!(dns["what"].as_str().unwrap().contains("::1"), "{report:#}");
    // Each connection waits 300 ms for the first address; without the second, it would be 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop((hole, fillers));
}

/// Listens with the shortest queue.
#[cfg(target_os = "linux")]
fn listen_briefly(address: std::net::SocketAddr) -> TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v6().unwrap();
    socket.bind(address).unwrap();
    socket.listen(1).unwrap().into_std().unwrap()
}

#[cfg(target_os = "linux")]
fn nss_wrapper() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.map(|folder| folder.join("libnss_wrapper.so")).find(|path| path.exists())
}
