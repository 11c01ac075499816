//! What the simulated server does that a test cannot have a real one do at will: lose power, have no disk, load for long.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use chamberlain_sim_valkey::{Fsync, Loss, Server, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::words::packed;

/// More than the second after which a server syncs, or tries its disk again.
const A_SECOND: Duration = Duration::from_millis(1_300);

async fn start(server: &Server) -> SocketAddr {
    server.start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("started")
}

async fn restart_after(server: &Server, loss: Option<Loss>) -> SocketAddr {
    server.kill().await;
    if let Some(loss) = loss {
        server.lose(loss);
    }
    start(server).await
}

/// Says something over a connection; what comes back, or nothing when it was closed.
async fn say(stream: &mut TcpStream, words: &str) -> Option<String> {
    let words: Vec<&str> = words.split(' ').collect();
    stream.write_all(&packed(&words)).await.ok()?;
    let mut some = vec![0; 16_384];
    let read = stream.read(&mut some).await.ok().filter(|read| *read > 0)?;
    some.truncate(read);
    Some(String::from_utf8_lossy(&some).into_owned())
}

async fn ask(at: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(at).await.expect("connected");
    say(&mut stream, words).await.expect("answered")
}

fn with(appendfsync: Fsync) -> Server {
    Server::new(Settings { appendfsync, ..Settings::strict() })
}

#[tokio::test]
async fn power_takes_what_was_not_synced_and_nothing_else() {
    for (fsync, waits, is_there) in [
        (Fsync::Always, false, true),
        (Fsync::EverySecond, false, false),
        (Fsync::EverySecond, true, true),
        (Fsync::No, true, false),
    ] {
        let server = with(fsync);
        let at = start(&server).await;
        assert_eq!(ask(at, "SET a 1").await, "+OK\r\n");
        // The end of the process alone takes nothing.
        let at = restart_after(&server, None).await;
        assert_eq!(ask(at, "GET a").await, "$1\r\n1\r\n", "{fsync:?}");
        assert_eq!(ask(at, "SET b 1").await, "+OK\r\n");
        if waits {
            sleep(A_SECOND).await;
        }
        let at = restart_after(&server, Some(Loss::Unsynced)).await;
        let found = ask(at, "GET b").await;
        assert_eq!(found, if is_there { "$1\r\n1\r\n" } else { "$-1\r\n" }, "{fsync:?}, waited: {waits}");
    }
}

#[tokio::test]
async fn a_server_without_a_file_forgets_everything_and_one_put_back_what_came_after() {
    let server = Server::new(Settings::default());
    let at = start(&server).await;
    assert_eq!(ask(at, "SET a 1").await, "+OK\r\n");
    let at = restart_after(&server, None).await;
    assert_eq!(ask(at, "GET a").await, "$-1\r\n");

    let server = with(Fsync::Always);
    let at = start(&server).await;
    assert_eq!(ask(at, "SET a 1").await, "+OK\r\n");
    let (copy, run) = (server.disk(), server.run_id());
    assert_eq!(ask(at, "SET a 2").await, "+OK\r\n");
    server.kill().await;
    let latest = server.replace_disk(copy);
    let at = start(&server).await;
    assert_eq!(ask(at, "GET a").await, "$1\r\n1\r\n");
    assert_ne!(server.run_id(), run);
    server.kill().await;
    server.replace_disk(latest);
    let at = start(&server).await;
    assert_eq!(ask(at, "GET a").await, "$1\r\n2\r\n");
    let at = restart_after(&server, Some(Loss::Everything)).await;
    assert_eq!(ask(at, "GET a").await, "$-1\r\n");
}

#[tokio::test]
async fn a_full_disk_ends_a_server_that_promised_to_sync_and_stops_writes_of_another() {
    const FULL: &str = "No space left on device";
    let server = with(Fsync::Always);
    let at = start(&server).await;
    let mut stream = TcpStream::connect(at).await.expect("connected");
    server.set_disk_fault(Some(FULL));
    assert_eq!(say(&mut stream, "GET a").await.as_deref(), Some("$-1\r\n"));
    assert_eq!(say(&mut stream, "SET a 1").await, None, "it ends without a word");
    sleep(Duration::from_millis(100)).await;
    assert!(!server.is_running());
    server.set_disk_fault(None);
    let at = start(&server).await;
    assert_eq!(ask(at, "GET a").await, "$-1\r\n", "it was not acknowledged, and did not happen");

    let server = with(Fsync::EverySecond);
    let at = start(&server).await;
    server.set_disk_fault(Some(FULL));
    assert_eq!(ask(at, "SET a 1").await, "+OK\r\n");
    assert_eq!(ask(at, "SET a 2").await, format!("-MISCONF Errors writing to the AOF file: {FULL}\r\n"));
    assert!(ask(at, "INFO persistence").await.contains("aof_last_write_status:err\r\n"));
    server.set_disk_fault(None);
    sleep(A_SECOND).await;
    assert_eq!(ask(at, "SET a 2").await, "+OK\r\n");
    let at = restart_after(&server, None).await;
    assert_eq!(ask(at, "GET a").await, "$1\r\n2\r\n");
}

#[tokio::test]
async fn a_server_says_that_it_loads_has_no_room_or_takes_no_writes() {
    let server = Server::new(Settings { loading: Duration::from_millis(400), ..Settings::strict() });
    let at = start(&server).await;
    for command in ["GET a", "PING", "SET a 1"] {
        assert_eq!(ask(at, command).await, "-LOADING Valkey is loading the dataset in memory\r\n");
    }
    assert!(ask(at, "INFO persistence").await.contains("\r\nloading:1\r\n"));
    sleep(Duration::from_millis(450)).await;
    assert_eq!(ask(at, "SET a 1").await, "+OK\r\n");

    server.set_replica(true);
    assert_eq!(ask(at, "SET a 2").await, "-READONLY You can't write against a read only replica.\r\n");
    assert_eq!(ask(at, "GET a").await, "$1\r\n1\r\n");
    server.set_replica(false);

    assert_eq!(ask(at, "CONFIG SET maxmemory 1").await, "+OK\r\n");
    let why = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(ask(at, "SET a 2").await, why);
    assert_eq!(ask(at, "DEL a").await, ":1\r\n");
    assert_eq!(ask(at, "SET a 2").await, "+OK\r\n");

    let server = Server::new(Settings { maxclients: 1, ..Settings::strict() });
    let at = start(&server).await;
    let mut first = TcpStream::connect(at).await.expect("connected");
    assert_eq!(say(&mut first, "PING").await.as_deref(), Some("+PONG\r\n"));
    assert_eq!(ask(at, "PING").await, "-ERR max number of clients reached\r\n");
}

#[tokio::test]
async fn a_server_that_stands_still_answers_once_it_goes_on() {
    let server = with(Fsync::Always);
    let at = start(&server).await;
    let mut stream = TcpStream::connect(at).await.expect("connected");
    assert_eq!(say(&mut stream, "SET a 1").await.as_deref(), Some("+OK\r\n"));
    server.pause();
    let asked = timeout(Duration::from_millis(300), say(&mut stream, "GET a")).await;
    assert!(asked.is_err(), "{asked:?}");
    // The machine takes connections while the process stands still.
    let mut other = TcpStream::connect(at).await.expect("connected");
    assert!(timeout(Duration::from_millis(300), say(&mut other, "GET a")).await.is_err());
    server.resume();
    let mut some = [0; 64];
    let read = stream.read(&mut some).await.expect("answered");
    assert_eq!(&some[..read], b"$1\r\n1\r\n");
}
