//! Which process is at the other end of a connection of this machine.

use std::{fs, net::SocketAddr};

/// The process that holds the socket at `peer`; none where it is gone, or where nobody can tell.
pub fn of(peer: SocketAddr) -> Option<u32> {
    // The kernel's tables change while they are read.
    (0..3).find_map(|_| look_for(peer))
}

fn look_for(peer: SocketAddr) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(peer)?);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|process| holds(*process, &socket))
}

/// The number of the socket in the kernel's table, as `proc_pid_net(5)` has it.
fn inode(peer: SocketAddr) -> Option<String> {
    let SocketAddr::V4(peer) = peer else { return None };
    let place = format!("{:08X}:{:04X}", u32::from_ne_bytes(peer.ip().octets()), peer.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&place))?;
    line.split_whitespace().nth(9).map(str::to_owned)
}

fn holds(process: u32, socket: &str) -> bool {
    let is_ours = fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == "finmcp");
    is_ours
        && fs::read_dir(format!("/proc/{process}/fd")).is_ok_and(|files| {
            files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|place| place.as_os_str() == socket))
        })
}
