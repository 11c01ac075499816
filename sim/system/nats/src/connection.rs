//! One client's connection: what it says goes to the hub in order, and what waits for it is written.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::select;
use tokio::time::{sleep, timeout};

use crate::outbox::{Next, Outbox};
use crate::server::Shared;
use crate::wire;

/// What is read at once, at most.
const READ_BYTES: usize = 32 * 1_024;

/// When a client is first asked whether it is there (`firstPingInterval` of the server).
const FIRST_PING: Duration = Duration::from_secs(2);

/// Serves a client until it or the server is gone.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    // Where that fails, it is slower.
    let _set = stream.set_nodelay(true);
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let (id, outbox) = shared.hub().enter(local, remote);
    let (reader, writer) = stream.into_split();
    let mut stopping = shared.stopping();
    select! {
        biased;
        _ = stopping.wait_for(|stopping| *stopping) => {}
        // Ends when there is nothing more to write to.
        () = write(&shared, &outbox, writer) => {}
        () = read(&shared, id, reader) => {}
        () = look_after(&shared, id) => {}
    }
    shared.hub().leave(id);
}

/// Ends when nothing more can be read.
async fn read(shared: &Shared, id: u64, mut reader: OwnedReadHalf) {
    let limits = shared.hub().config.limits.clone();
    let mut read = BytesMut::with_capacity(READ_BYTES);
    loop {
        loop {
            shared.go_on().await;
            match wire::next(&mut read, &limits) {
                Ok(Some(op)) => {
                    let mut hub = shared.hub();
                    if hub.is_over() {
                        return;
                    }
                    hub.hear(id, op);
                }
                Ok(None) => break,
                Err(bad) => {
                    shared.hub().cut_off(id, bad.words());
                    return std::future::pending().await;
                }
            }
        }
        read.reserve(READ_BYTES);
        match reader.read_buf(&mut read).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// Ends when nothing more can be written, or is to be.
async fn write(shared: &Shared, outbox: &Outbox, mut writer: OwnedWriteHalf) {
    let deadline = shared.hub().config.limits.write_deadline;
    loop {
        shared.go_on().await;
        match outbox.next() {
            Next::Write(bytes) => match timeout(deadline, writer.write_all(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    shared.hub().statistics.slow_consumers += 1;
                    return;
                }
            },
            Next::Wait => outbox.changed().await,
            Next::End => {
                // It may be gone already.
                let _ended = writer.shutdown().await;
                return;
            }
        }
    }
}

/// Asks a client who it is and whether it is there; never ends.
async fn look_after(shared: &Shared, id: u64) {
    let (introduction, ping) = {
        let limits = &shared.hub().config.limits;
        (limits.authentication, limits.ping)
    };
    sleep(introduction).await;
    shared.go_on().await;
    shared.hub().expect_introduction(id);
    sleep(FIRST_PING.saturating_sub(introduction)).await;
    loop {
        shared.go_on().await;
        shared.hub().ping(id);
        sleep(ping).await;
    }
}
