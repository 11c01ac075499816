//! The directory's tables in a server that forgets them, whole or in part, and is put back to an earlier time; and two nodes at
//! once.

use std::sync::Arc;
use std::time::Instant;

use chamberlain_core::id::{AccountId, LogId};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::Options;
use chamberlain_stores::{Account, Directory, LogStore, StoreError};

use super::faults::until_well;
use super::opening::{impatient, open};
use super::server::Server;

const ROWS: &str = "chamberlain:{home/directory}:accounts";
const IDS: &str = "chamberlain:{home/directory}:ids";

fn account(name: &str, disabled: bool) -> Account {
    let name_for_people = format!("{name} of the house");
    let account = Account::new(name.parse().expect("valid"), "home".parse().expect("valid"), name_for_people);
    Account { disabled, ..account }
}

/// A directory as a process that has just begun has it.
async fn begun(server: &Server, logs: &MemoryStores) -> Arc<dyn Directory> {
    open(server, impatient()).await.stores(Arc::new(logs.clone())).directory
}

async fn all(directory: &dyn Directory) -> Vec<Account> {
    let page = directory.list(None, 1_000).await.expect("listed");
    assert!(!page.more);
    page.accounts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_deleted_come_back_from_the_log() {
    let server = Server::strict();
    let logs = MemoryStores::new();
    let running = begun(&server, &logs).await;
    let accounts = [account("ada", true), account("bob", false), account("cyd", false)];
    running.put(&accounts).await.expect("put");
    let ada: AccountId = "ada".parse().expect("valid");
    for deleted in [&[ROWS, IDS][..], &[ROWS], &[IDS]] {
        for fresh in [true, false] {
            server.ask(&[&["DEL"], deleted].concat());
            let directory = if fresh { begun(&server, &logs).await } else { running.clone() };
            assert_eq!(all(&*directory).await, accounts, "{deleted:?}, {fresh}");
            assert!(directory.get(std::slice::from_ref(&ada)).await.expect("got")[&ada].disabled);
            assert_eq!(server.ask(&["ZCARD", IDS]), ":3");
        }
    }
}

#[tokio::test]
async fn tables_of_an_earlier_time_are_brought_to_the_log() {
    let mut server = Server::strict();
    let logs = MemoryStores::new();
    let directory = begun(&server, &logs).await;
    directory.put(&[account("ada", false)]).await.expect("put");
    let earlier = server.copy_files();
    directory.put(&[account("ada", true), account("bob", false)]).await.expect("put");
    server.kill();
    drop(server.replace_files(Some(earlier.path())));
    server.restart();
    // Who knew the server better refuses it; who begins now does not know.
    let valkey = open(&server, impatient()).await;
    until_well(&valkey).await;
    let directory = begun(&server, &logs).await;
    assert_eq!(all(&*directory).await, [account("ada", true), account("bob", false)]);
}

/// Tables as they were written before there was a log.
#[tokio::test]
async fn tables_without_a_log_are_copied_into_one() {
    let server = Server::strict();
    let logs = MemoryStores::new();
    let accounts = [account("ada", true), account("bob", false)];
    for account in &accounts {
        let row = format!("home\n{}", serde_json::to_string(account).expect("JSON"));
        assert_eq!(server.ask(&["HSET", ROWS, account.account.as_str(), &row]), ":1");
        assert_eq!(server.ask(&["ZADD", IDS, "0", account.account.as_str()]), ":1");
    }
    let directory = begun(&server, &logs).await;
    assert_eq!(all(&*directory).await, accounts);
    let head = logs.head(&LogId::Directory).await.expect("a head");
    assert_eq!(head.revision.0, 3, "each account, and that these are all");
    server.ask(&["DEL", ROWS, IDS]);
    assert_eq!(all(&*begun(&server, &logs).await).await, accounts);
    assert_eq!(logs.head(&LogId::Directory).await, Ok(head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_import_at_once_lose_nothing() {
    const BATCHES: usize = 30;
    let server = Server::strict();
    let logs = MemoryStores::new();
    let mut imports = Vec::new();
    for node in 0..2 {
        let directory = begun(&server, &logs).await;
        imports.push(tokio::spawn(async move {
            for batch in 0..BATCHES {
                let own = account(&format!("own-{node}-{batch}"), false);
                directory.put(&[own, account(&format!("shared-{batch}"), true)]).await.expect("put");
            }
        }));
    }
    for import in imports {
        import.await.expect("imported");
    }
    let directory = begun(&server, &logs).await;
    let stored = all(&*directory).await;
    assert_eq!(stored.len(), 3 * BATCHES);
    let head = logs.head(&LogId::Directory).await.expect("a head");
    directory.put(&stored).await.expect("put");
    assert_eq!(logs.head(&LogId::Directory).await, Ok(head), "the same again is nothing new");
    server.ask(&["DEL", ROWS, IDS]);
    assert_eq!(all(&*directory).await, stored);
}

/// A stand that nobody understands is of a newer program, and nothing is made of it.
#[tokio::test]
async fn a_stand_of_unknown_form_is_left_alone() {
    let server = Server::strict();
    let logs = MemoryStores::new();
    let directory = open(&server, Options::default()).await.stores(Arc::new(logs)).directory;
    directory.put(&[account("ada", true)]).await.expect("put");
    assert_eq!(server.ask(&["HSET", ROWS, ":stand", "newer 1 2 3"]), ":0");
    let put = directory.put(&[account("ada", false)]).await;
    assert!(matches!(put, Err(StoreError::Corrupt(_))), "{put:?}");
    assert_eq!(server.ask(&["ZCARD", IDS]), ":1");
}

/// Says, with `--nocapture`, what an import costs, and what it takes to make the tables anew. Figures for people, and no bar.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_accounts_come_back() {
    const ACCOUNTS: usize = 20_000;
    let server = Server::strict();
    let logs = MemoryStores::new();
    let directory = begun(&server, &logs).await;
    let accounts: Vec<Account> = (0..ACCOUNTS).map(|nth| account(&format!("a{nth:06}"), nth % 7 == 0)).collect();
    let began = Instant::now();
    for some in accounts.chunks(1_000) {
        directory.put(some).await.expect("put");
    }
    let imported = began.elapsed();
    let one = Account { name: "Ada".into(), ..accounts[0].clone() };
    let began = Instant::now();
    directory.put(&[one]).await.expect("put");
    let changed = began.elapsed();
    assert_eq!(server.ask(&["DEL", ROWS, IDS]), ":2");
    let began = Instant::now();
    let last = accounts[ACCOUNTS - 1].account.clone();
    assert_eq!(directory.get(std::slice::from_ref(&last)).await.expect("got").get(&last), accounts.last());
    let rebuilt = began.elapsed();
    assert_eq!(server.ask(&["ZCARD", IDS]), format!(":{ACCOUNTS}"));
    eprintln!("{ACCOUNTS} accounts: imported in {imported:?}, one changed in {changed:?}, made anew in {rebuilt:?}");
}
