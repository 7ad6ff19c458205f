//! Sockets.

use std::ffi::CStr;

use libc::{
    AF_ALG, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, SOCK_DGRAM, SOCK_RAW,
    SOCK_SEQPACKET, SOCK_STREAM,
};
use prober::bait::{DATAGRAM, STREAM};

use super::{Attack, Attacker};
use crate::raw::{Attempt, at, at_mut, call, does, int};

pub const ATTACKS: &[(&str, Attack)] = &[
    ("connect_path", |attacker| {
        let address = unix(attacker.bait.path(STREAM).as_bytes());
        connect(socket(AF_UNIX, SOCK_STREAM, 0)?, &address)
    }),
    ("send_path", |attacker| {
        let address = unix(attacker.bait.path(DATAGRAM).as_bytes());
        send(socket(AF_UNIX, SOCK_DGRAM, 0)?, &address)
    }),
    ("connect_abstract", |attacker| {
        let mut name = vec![0];
        name.extend(attacker.bait.abstract_name.bytes());
        connect(socket(AF_UNIX, SOCK_STREAM, 0)?, &unix(&name))
    }),
    ("connect_tcp", |attacker| {
        connect(socket(AF_INET, SOCK_STREAM, 0)?, &loopback(attacker.bait.tcp))
    }),
    ("send_udp", |attacker| send(socket(AF_INET, SOCK_DGRAM, 0)?, &loopback(attacker.bait.udp))),
    ("socket_inet6", |_| socket(AF_INET6, SOCK_STREAM, 0).map(drop)),
    ("socket_netlink", |_| socket(AF_NETLINK, SOCK_RAW, 0).map(drop)),
    ("socket_vsock", |_| socket(AF_VSOCK, SOCK_STREAM, 0).map(drop)),
    ("socket_alg", |_| socket(AF_ALG, SOCK_SEQPACKET, 0).map(drop)),
    ("socket_raw", |_| socket(AF_INET, SOCK_RAW, 1).map(drop)),
    ("socket_packet", |_| socket(AF_PACKET, SOCK_RAW, 0).map(drop)),
    ("socket_pair", |_| {
        let mut ends = [0u32; 2];
        does(libc::SYS_socketpair, &[int(AF_UNIX), int(SOCK_STREAM), 0, at_mut(&mut ends)])
    }),
    ("pass_descriptor", pass_descriptor),
];

fn socket(family: i32, kind: i32, protocol: i32) -> Attempt<u64> {
    call(libc::SYS_socket, &[int(family), int(kind), int(protocol)])
}

fn connect(socket: u64, address: &[u8]) -> Attempt {
    does(libc::SYS_connect, &[socket, at(address), address.len() as u64])
}

fn send(socket: u64, address: &[u8]) -> Attempt {
    let byte = [0u8];
    does(libc::SYS_sendto, &[socket, at(&byte), 1, 0, at(address), address.len() as u64])
}

/// struct sockaddr_un.
fn unix(path: &[u8]) -> Vec<u8> {
    let mut address = family(AF_UNIX);
    address.extend(path);
    // A path ends with a zero byte, an abstract name with the address.
    if path.first() != Some(&0) {
        address.push(0);
    }
    address
}

/// struct sockaddr_in of 127.0.0.1.
fn loopback(port: u16) -> Vec<u8> {
    let mut address = family(AF_INET);
    address.extend(port.to_be_bytes());
    address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    address
}

fn family(family: i32) -> Vec<u8> {
    u16::try_from(family).unwrap_or(0).to_le_bytes().to_vec()
}

/// Passes the status pipe to whoever holds the other end of our control socket.
fn pass_descriptor(attacker: &Attacker) -> Attempt {
    let byte = CStr::to_bytes_with_nul(c"");
    let vector = [at(byte), 1];
    // struct cmsghdr: length, SOL_SOCKET, SCM_RIGHTS; one descriptor and padding.
    let rights = [20u64, 1 | 1 << 32, 3];
    let message = [0, 0, at(&vector), 1, at(&rights), 24, 0];
    does(libc::SYS_sendmsg, &[int(attacker.control), at(&message), 0])
}
