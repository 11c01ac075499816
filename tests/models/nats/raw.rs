//! A client that says exactly what it is told to, and hears exactly what is said.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
    ended: bool,
}

impl Raw {
    /// Connects, and introduces itself with these fields.
    pub(super) async fn connect(url: &str, introduction: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("nats://").unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self { stream, read: Vec::new(), ended: false };
        let greeting = raw.frame(Duration::from_secs(5)).await.unwrap();
        assert!(greeting.starts_with("INFO "), "{greeting}");
        raw.say(&format!("CONNECT {introduction}\r\nPING\r\n")).await;
        while raw.frame(Duration::from_secs(5)).await.unwrap() != "PONG" {}
        raw
    }

    /// Says it, to whoever still listens.
    pub(super) async fn say(&mut self, text: &str) {
        let _broken = self.stream.write_all(text.as_bytes()).await;
    }

    /// The next thing said, a message with all its bytes; `END` once at the end; none if nothing comes for so long. Questions
    /// whether one is there are answered.
    pub(super) async fn frame(&mut self, patience: Duration) -> Option<String> {
        loop {
            if let Some(frame) = self.take() {
                if frame == "PING" {
                    self.say("PONG\r\n").await;
                    continue;
                }
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            let mut more = [0; 16_384];
            match timeout(patience, self.stream.read(&mut more)).await {
                Ok(Ok(bytes @ 1..)) => self.read.extend_from_slice(&more[..bytes]),
                Ok(_) => {
                    self.ended = true;
                    return Some("END".into());
                }
                Err(_) => return None,
            }
        }
    }

    fn take(&mut self) -> Option<String> {
        let line = self.read.windows(2).position(|two| two == b"\r\n")?;
        let text = String::from_utf8_lossy(&self.read[..line]).into_owned();
        let mut whole = line + 2;
        if text.starts_with("MSG ") || text.starts_with("HMSG ") {
            let bytes: usize = text.rsplit(' ').next().unwrap().parse().unwrap();
            whole += bytes + 2;
        }
        if self.read.len() < whole {
            return None;
        }
        let frame = String::from_utf8_lossy(&self.read[..whole - 2]).into_owned();
        self.read.drain(..whole);
        Some(frame)
    }
}
