//! An endpoint that misbehaves in one way, and counts how often it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use url::Url;

/// What the endpoint does with every request.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Answers with this HTTP status and body; `ID` in the body becomes the request's id.
    Answer(u16, &'static str),
    /// Answers each method with its result of this list, in JSON.
    Results(&'static [(&'static str, &'static str)]),
    /// Answers with a redirect to this port.
    Redirect(u16),
    /// Reads the request and says nothing.
    Hang,
    /// Reads the request and closes the connection.
    HangUp,
    /// Announces a short answer and sends without end.
    Flood,
}

pub(crate) struct Faulty {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Faulty {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, fault, Arc::clone(&counter)));
            }
        });
        Self { port, asked }
    }

    /// A URL full of things that must not be shown.
    pub(crate) fn url(&self) -> Url {
        format!("http://user:password@127.0.0.1:{}/path-key?query=key", self.port).parse().unwrap()
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The URL of a port on which nobody listens. It stays bound for the life of the process, or another test's endpoint
/// could be given it.
pub(crate) fn dead_url() -> Url {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    format!("http://127.0.0.1:{port}/path-key").parse().unwrap()
}

async fn serve(mut stream: TcpStream, fault: Fault, asked: Arc<AtomicUsize>) {
    let request = read_request(&mut stream).await;
    asked.fetch_add(1, Ordering::SeqCst);
    match fault {
        Fault::Answer(status, body) => {
            let body = body.replace("ID", &request["id"].to_string());
            answer(&mut stream, status, &body).await;
        }
        Fault::Results(results) => {
            let (_, result) =
                results.iter().find(|(method, _)| request["method"] == *method).unwrap();
            let id = &request["id"];
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
            answer(&mut stream, 200, &body).await;
        }
        Fault::Redirect(port) => {
            let answer = format!(
                "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:{port}/\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Fault::Hang => tokio::time::sleep(Duration::from_secs(3600)).await,
        Fault::HangUp => {}
        Fault::Flood => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn read_request(stream: &mut TcpStream) -> Value {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= content_length(head)
        {
            return serde_json::from_str(body).unwrap();
        }
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the request is not whole");
        request.extend_from_slice(&chunk[..length]);
    }
}

fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.trim().parse().unwrap())
}
