//! Ports: free ones by default, a fixed range by wish.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result, io};

/// How often a part is started anew because someone took its port between our look and its bind.
pub(crate) const ATTEMPTS: u32 = 3;

/// A port of the loopback interface that nobody listens on at this moment.
///
/// # Errors
/// When the system has none.
pub fn free() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("look for a free port"))?;
    let address = listener.local_addr().map_err(io("look for a free port"))?;
    Ok(address.port())
}

/// The wished port, or a free one.
pub(crate) fn wished(port: Option<u16>) -> Result<u16> {
    port.map_or_else(free, Ok)
}

/// Whether a child ended because its port was taken, so that another port is worth a try.
pub(crate) fn was_taken(error: &Error) -> bool {
    let (Error::Exited { tail, .. } | Error::NotReady { tail, .. }) = error else {
        return false;
    };
    let tail = tail.to_ascii_lowercase();
    tail.contains("already in use") || tail.contains("eaddrinuse")
}
