//! What can go wrong while the stack comes up, said so that the reader knows what to do next.

use std::path::PathBuf;

/// Why a part of the development stack could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool that the stack needs is not where it should be.
    #[error("{tool} is missing at {}; {remedy}", path.display())]
    MissingTool {
        /// The tool, as its package calls it.
        tool: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What the reader can run to get it.
        remedy: String,
    },
    /// This machine has no build of the pinned tools.
    #[error(
        "no pinned tools exist for {os}/{arch}; Linux and macOS on x86-64 and arm64 are supported"
    )]
    UnsupportedPlatform {
        /// The operating system as Rust names it.
        os: &'static str,
        /// The processor architecture as Rust names it.
        arch: &'static str,
    },
    /// A child ended although it was still needed.
    #[error("{name} ended by itself; its log {} ends with:\n{tail}", log.display())]
    Exited {
        /// The child's name in the stack.
        name: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A child is running but never answered.
    #[error("{name} did not answer within {seconds} s; its log {} ends with:\n{tail}", log.display())]
    NotReady {
        /// The child's name in the stack.
        name: String,
        /// How long was waited, in seconds.
        seconds: u64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A command that should run to its end failed.
    #[error("`{command}` failed; its log {} ends with:\n{tail}", log.display())]
    Command {
        /// The command as one would type it.
        command: String,
        /// Where its output went.
        log: PathBuf,
        /// The last lines of the output.
        tail: String,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// PostgreSQL refused a statement or a connection.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: String,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// A JSON-RPC server (node, bundler) answered with an error, or not at all.
    #[error("{doing}: {reason}")]
    Rpc {
        /// What was being done.
        doing: String,
        /// The error as the transport tells it.
        reason: String,
    },
    /// A file of a pinned package or of our own build is not what the stack expects.
    #[error("{}: {reason}", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A contract is not at the address where it has to be.
    #[error("{contract} should be at {expected}, but {found}")]
    Misplaced {
        /// The contract's name.
        contract: String,
        /// The address where clients look for it.
        expected: alloy::primitives::Address,
        /// What was found instead.
        found: String,
    },
    /// The client driver answered with an error of the client library.
    #[error("{name} (code {code:?}): {message}")]
    Client {
        /// The class of the error in the client library, for example `UserOperationExecutionError`.
        name: String,
        /// The library's text.
        message: String,
        /// What the server said, when the library keeps it.
        details: Option<String>,
        /// The JSON-RPC code, when the library keeps it.
        code: Option<i64>,
        /// The `data` of the JSON-RPC error, when the library keeps it.
        data: Option<serde_json::Value>,
    },
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to an error of the operating system.
pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { doing: doing.into(), source }
}
