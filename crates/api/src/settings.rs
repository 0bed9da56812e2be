//! What the door lets through.

use core::time::Duration;

/// Limits of the HTTP side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The longest body that is read, in bytes. Default 256 KiB: an operation is a few kilobytes, and the largest that a
    /// transaction of 128 KiB can carry is twice as long in hex.
    pub body_limit_bytes: usize,
    /// How long a request may take. Default 9 s: clients give up after 10 s and would never see the answer.
    pub request_timeout: Duration,
    /// The most calls of one JSON-RPC batch. Default 20: each call may ask the node
    /// and the database, and all share one request's time.
    pub max_batch: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            body_limit_bytes: 256 * 1024,
            request_timeout: Duration::from_secs(9),
            max_batch: 20,
        }
    }
}
