//! A wire to PostgreSQL that can be cut between any two messages, or fall silent.
//!
//! It understands just enough of the protocol
//! ([message formats](https://www.postgresql.org/docs/current/protocol-message-formats.html)) to count what the client
//! sends. A cut before a message means that the server never saw it; a cut behind it means that the server has carried
//! it out and nobody heard, the COMMIT included.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a cut waits for what the server says to the message before it.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);

/// Which message is cut at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Of all messages.
    Message,
    /// Of the COMMITs alone.
    Commit,
}

/// Where the next cut is.
#[derive(Clone, Copy, Debug)]
struct Plan {
    at: At,
    /// How many of them go by before.
    left: u64,
    is_behind: bool,
}

/// A wire, and what was cut on it so far.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    plan: Mutex<Option<Plan>>,
    /// Whether whoever says something on this wire is never answered, nor hung up on.
    is_silent: AtomicBool,
    /// Connections that met the silence.
    stranded: AtomicU64,
    /// Commands that somebody waits for on this wire.
    waiting: AtomicI64,
    /// Cuts while somebody waited, before and behind a message, and behind a COMMIT.
    pub(crate) hits: [AtomicU64; 3],
}

impl Wire {
    /// A wire to the database at a URL that names its server by address and port, and the URL through the wire.
    pub(crate) async fn to(url: &str) -> (Arc<Self>, String) {
        let (before, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let (wire, address) = Self::open(server.parse().unwrap()).await;
        (wire, format!("{before}@{address}/{database}?sslmode=disable"))
    }

    /// Listens on a port of its own; every connection goes on to the server.
    async fn open(server: SocketAddr) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Self::default());
        let shared = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let wire = Arc::clone(&shared);
                tokio::spawn(async move { wire.connect(client, server).await });
            }
        });
        (wire, address)
    }

    /// Cuts once more, after so many.
    pub(crate) fn cut(&self, at: At, left: u64, is_behind: bool) {
        *self.plan.lock().unwrap() = Some(Plan { at, left, is_behind });
    }

    /// Whether the last cut is still to come.
    pub(crate) fn is_armed(&self) -> bool {
        self.plan.lock().unwrap().is_some()
    }

    /// Cuts no more.
    pub(crate) fn mend(&self) {
        *self.plan.lock().unwrap() = None;
    }

    /// From now on, or not any more, a host that has vanished: a connection that says something then is stranded for
    /// ever.
    pub(crate) fn fall_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// How many connections are stranded.
    pub(crate) fn stranded(&self) -> u64 {
        self.stranded.load(Ordering::SeqCst)
    }

    pub(crate) fn waits(&self, commands: i64) {
        self.waiting.fetch_add(commands, Ordering::SeqCst);
    }

    /// Whether the connection is to be cut at this message, and on which side of it.
    fn is_cut(&self, kind: u8, body: &[u8]) -> Option<bool> {
        let mut plan = self.plan.lock().unwrap();
        let next = plan.as_mut()?;
        let is_commit = kind == b'Q' && body.starts_with(b"COMMIT");
        if next.at == At::Commit && !is_commit {
            return None;
        }
        if next.left > 0 {
            next.left -= 1;
            return None;
        }
        let is_behind = next.is_behind;
        *plan = None;
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let which = if is_behind && is_commit { 2 } else { usize::from(is_behind) };
            self.hits[which].fetch_add(1, Ordering::SeqCst);
        }
        Some(is_behind)
    }

    async fn connect(&self, client: TcpStream, server: SocketAddr) -> Option<()> {
        let server = TcpStream::connect(server).await.ok()?;
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let (from_client, mut to_client) = client.into_split();
        let (mut from_server, to_server) = server.into_split();
        // Answers go by themselves, until a cut asks for the server's side.
        let (cut, is_cut) = oneshot::channel::<()>();
        let answers = tokio::spawn(async move {
            tokio::select! {
                _ = copy(&mut from_server, &mut to_client) => None,
                _ = is_cut => Some(from_server),
            }
        });
        let ending = answers.abort_handle();
        if let Some(_server) = self.pass_on(from_client, to_server, cut).await {
            let mut from_server = answers.await.ok()??;
            // The server has carried it out when it has answered, and nobody hears.
            let mut answer = [0; 4_096];
            let _ = timeout(LONGEST_ANSWER, from_server.read(&mut answer)).await;
        }
        ending.abort();
        Some(())
    }

    /// Passes messages on until the client ends or the wire is cut; `Some` while the server still works on one.
    async fn pass_on(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
        answers: oneshot::Sender<()>,
    ) -> Option<OwnedWriteHalf> {
        let mut length = [0; 4];
        // The first message has no kind. TLS is not asked for.
        client.read_exact(&mut length).await.ok()?;
        let mut message =
            vec![0; usize::try_from(u32::from_be_bytes(length)).ok()?.checked_sub(4)?];
        client.read_exact(&mut message).await.ok()?;
        server.write_all(&[&length[..], &message].concat()).await.ok()?;
        let (mut buffer, mut filled) = (vec![0; 1 << 16], 0);
        loop {
            let (mut next, mut passed) = (0, 0);
            while let Some(header) = buffer[next..filled].get(..5) {
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
                let end = next + 1 + usize::try_from(length).ok()?;
                if end > filled {
                    if end - next > buffer.len() {
                        buffer.resize(end - next, 0);
                    }
                    break;
                }
                let kind = header[0];
                // Passwords are no statements.
                let cut =
                    if kind == b'p' { None } else { self.is_cut(kind, &buffer[next + 5..end]) };
                match cut {
                    Some(false) => {
                        server.write_all(&buffer[passed..next]).await.ok()?;
                        return None;
                    }
                    Some(true) => {
                        // From here on no answer goes by.
                        drop(answers);
                        server.write_all(&buffer[passed..end]).await.ok()?;
                        // Only these two are answered at once.
                        return matches!(kind, b'Q' | b'S').then_some(server);
                    }
                    None => next = end,
                }
            }
            server.write_all(&buffer[passed..next]).await.ok()?;
            passed = next;
            buffer.copy_within(passed..filled, 0);
            filled -= passed;
            let read = client.read(&mut buffer[filled..]).await.ok()?;
            if read == 0 {
                return None;
            }
            if self.is_silent.load(Ordering::SeqCst) {
                self.stranded.fetch_add(1, Ordering::SeqCst);
                core::future::pending::<()>().await;
            }
            filled += read;
        }
    }
}
