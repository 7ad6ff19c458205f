//! The loopback interface: the only one there is.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socket_with};

/// `RTM_NEWLINK` for interface 1, which is `lo` in every network namespace: set the flag `IFF_UP`.
/// `struct nlmsghdr`, then `struct ifinfomsg` (rtnetlink(7)), in native byte order.
const LOOPBACK_UP: [u32; 8] = [
    32,             // length
    (1 << 16) | 16, // flags NLM_F_REQUEST, type RTM_NEWLINK
    0,              // sequence
    0,              // port
    0,              // family, padding, device type
    1,              // interface
    1,              // flags: IFF_UP
    1,              // which flags to change
];

/// Takes `lo` up, which gives it its addresses. A kernel without a network has nothing to take up.
pub fn loopback() {
    let _ = take_up();
}

fn take_up() -> Result<(), Errno> {
    // No protocol number: NETLINK_ROUTE is 0.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let message = LOOPBACK_UP.map(u32::to_ne_bytes);
    send(&socket, message.as_flattened(), SendFlags::empty())?;
    Ok(())
}
