//! Why the other side gave no usable answer.

use serde_json::Value;

/// Why a call gave no result. When several URLs were tried, the error is the last one's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RpcError {
    /// No connection, a broken one, or an HTTP status instead of an answer. Worth another try later.
    #[error("{host} is unreachable: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The cause in words, for the log; never a URL.
        reason: String,
    },
    /// No whole answer before the deadline. The other side may have acted all the same.
    #[error("{host} did not answer in time")]
    TimedOut {
        /// Host and port.
        host: String,
    },
    /// The answer is larger than is read of one. Asking for less may help.
    #[error("{host} sent more than is read of one answer")]
    TooLarge {
        /// Host and port.
        host: String,
    },
    /// The other side understood and refused
    /// ([JSON-RPC 2.0, error object](https://www.jsonrpc.org/specification#error_object)).
    #[error("the call was refused with code {code}: {message}")]
    Rpc {
        /// The code as it came.
        code: i64,
        /// The message as it came.
        message: String,
        /// The data as it came, if any.
        data: Option<Value>,
    },
    /// The answer is not what was asked for. Another try is as likely to fail.
    #[error("malformed answer: {what}")]
    Malformed {
        /// What is wrong with it, for the log.
        what: String,
    },
}

impl RpcError {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }
}

/// Why a list of URLs cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The list is empty.
    #[error("there must be at least one RPC URL")]
    NoUrl,
    /// The URL is not `http` or `https`, or names no host.
    #[error("RPC URL {position} must be http or https and name a host")]
    UnsupportedUrl {
        /// Where it stands in the list, from 1; the URL itself may hold a key.
        position: usize,
    },
    /// The HTTP client cannot be made, as when the system has no usable root certificates.
    #[error("cannot set up the HTTP client: {reason}")]
    Client {
        /// The cause in words.
        reason: String,
    },
}
