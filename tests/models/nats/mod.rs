//! The simulated NATS server, over real sockets: our store of logs with the stock client, as on a real one.

mod faults;
mod raw;
#[path = "../../../stores/tests/support/nats.rs"]
#[expect(dead_code, reason = "the tests of the stores use all of it")]
mod real;
mod server;
mod side_by_side;
#[path = "../../../stores/tests/support/tape.rs"]
mod tape;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chamberlain_sim_nats::{Account, Config};
use chamberlain_stores::conformance::{self, Writer};
use chamberlain_stores::jetstream::{Credentials, JetStream, OpenError, Options, Syncing};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Appended, LogStore, StoreError, Stores};
use server::Simulated;

/// How long opening may take where it is to fail.
const PATIENCE: Duration = Duration::from_secs(3);

fn options(url: String) -> Options {
    Options::new("home".parse().unwrap(), url, Syncing::Promised)
}

fn credentials_of(user: &str) -> Credentials {
    Credentials::Password { user: user.into(), password: "secret".into() }
}

async fn open(url: String) -> JetStream {
    JetStream::open(options(url)).await.unwrap()
}

/// The answer, once the store is available.
async fn until_it_answers<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Err(StoreError::Unavailable(why)) => {
                assert!(started.elapsed() < Duration::from_secs(20), "still unavailable: {why}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answered => return answered.unwrap(),
        }
    }
}

/// Appends what must be appended.
async fn append(logs: &JetStream, writer: &mut Writer, events: usize, body_bytes: usize) {
    let (record, after) = writer.next(events, body_bytes);
    assert_eq!(logs.append(writer.log(), writer.head(), record, after).await, Ok(Appended::Done(after)));
    writer.set_head(after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_on_the_simulated_server_conform() {
    let server = Simulated::start().await;
    let logs = open(server.url()).await;
    conformance::run(async || Stores { logs: Arc::new(logs.clone()), ..MemoryStores::new().stores() }).await;
    assert_eq!(server.server().statistics().deleted_ends, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_on_a_simulated_server_that_takes_its_time_conform() {
    let storing = (Duration::from_micros(50), Duration::from_micros(900));
    let server = Simulated::start_with(|config| config.storing = storing).await;
    let logs = open(server.url()).await;
    conformance::run(async || Stores { logs: Arc::new(logs.clone()), ..MemoryStores::new().stores() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tape_of_operations_agrees_with_the_model_on_the_simulated_server() {
    let soak = std::env::var_os("CHAMBERLAIN_SOAK").is_some();
    let mut server = Simulated::start().await;
    tape::play(&mut server, if soak { 100_000 } else { 4_000 }, tape::seed()).await;
    assert_eq!(server.deleted_ends(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_server_is_judged_as_a_real_one() {
    let accounts = |config: &mut Config| {
        config.accounts = vec![Account::system("system", "secret"), Account::of("ROOMS", "chamberlain", "secret")];
    };
    let asking = |server: &Simulated, user: &str| {
        let syncing = chamberlain_stores::jetstream::Syncing::Asked(credentials_of(user));
        let credentials = credentials_of("chamberlain");
        JetStream::open(Options { credentials, syncing, opening: PATIENCE, ..options(server.url()) })
    };
    let server = Simulated::start_with(accounts).await;
    let logs = asking(&server, "system").await.unwrap();
    append(&logs, &mut Writer::of_room("asked", 1), 1, 10).await;
    for user in ["chamberlain", "nobody"] {
        assert!(matches!(asking(&server, user).await.err(), Some(OpenError::Unverified(_))));
    }
    let stranger = JetStream::open(Options { opening: PATIENCE, ..options(server.url()) }).await;
    assert!(matches!(stranger.err(), Some(OpenError::Unreachable(_))));
    let known = chamberlain_sim_nats::Credentials::Token("secret".into());
    let users = vec![chamberlain_sim_nats::User { credentials: known }];
    let server = Simulated::start_with(|config| config.accounts[0].users = users).await;
    for (token, is_let_in) in [("secret", true), ("guess", false)] {
        let credentials = Credentials::Token(token.into());
        let opened = JetStream::open(Options { credentials, opening: PATIENCE, ..options(server.url()) }).await;
        assert_eq!(opened.is_ok(), is_let_in, "{token}");
    }
    let lazy = Simulated::start_with(|config| {
        accounts(config);
        config.syncing = chamberlain_sim_nats::Syncing::LAZY;
    });
    let refused = asking(&lazy.await, "system").await.err();
    assert_eq!(refused, Some(OpenError::SyncsLate { server: "simulated".into() }));
    let old = Simulated::start_with(|config| config.version = "2.9.10".into()).await;
    let refused = JetStream::open(options(old.url())).await.err();
    assert_eq!(refused, Some(OpenError::TooOld { version: "2.9.10".into() }));
    let small = Simulated::start_with(|config| config.limits.payload = 65_536).await;
    let refused = JetStream::open(options(small.url())).await.err();
    assert!(matches!(refused, Some(OpenError::MaxPayload { given: 65_536, .. })), "{refused:?}");
}
