//! Directories over one log and tables that fail, forget, and are those of another log: whoever reads gets what the log says.

use std::collections::BTreeMap;
use std::sync::Arc;

use chamberlain_core::directory::{DirectoryChange, Folding, Stand};
use chamberlain_core::id::{AccountId, Revision};
use chamberlain_core::log::{Body, Entry, Head, Logged, Record};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;
use proptest::prelude::*;
use serde::Serialize;

use super::memory::{Kept, MemoryTables};
use super::*;
use crate::memory::MemoryStores;

const RECORD_BYTES: usize = 64 * 1024;

/// What goes wrong with the next step of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It does not happen.
    Before,
    /// It happens, and nobody is told.
    After,
}

/// Tables whose steps fail when they are told to: what a process that dies there leaves behind.
#[derive(Clone, Default)]
struct Faulty {
    inner: MemoryTables,
    /// Which step from now on, from zero, and what is wrong with it.
    next: Arc<Mutex<Option<(usize, Fault)>>>,
}

impl Faulty {
    fn fail(&self, fault: Fault) {
        self.fail_at(0, fault);
    }

    fn fail_at(&self, nth: usize, fault: Fault) {
        *self.next.lock().expect("whole") = Some((nth, fault));
    }

    fn fault(&self) -> Option<Fault> {
        let mut next = self.next.lock().expect("whole");
        let (nth, fault) = next.take()?;
        *next = nth.checked_sub(1).map(|nth| (nth, fault));
        (nth == 0).then_some(fault)
    }
}

impl DirectoryTables for Faulty {
    fn rows<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, Rows> {
        self.inner.rows(accounts)
    }

    fn page<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, TablesPage> {
        self.inner.page(after, limit)
    }

    fn fold<'a>(&'a self, expected: Option<Stand>, step: Step<'a>) -> Pending<'a, Option<Stand>> {
        Box::pin(async move {
            let fault = self.fault();
            if fault == Some(Fault::Before) {
                return Err(StoreError::Unavailable("killed before".into()));
            }
            let stands = self.inner.fold(expected, step).await?;
            match fault {
                None => Ok(stands),
                Some(_) => Err(StoreError::Unknown("killed after".into())),
            }
        })
    }
}

/// A log, tables, and as many directories over them as a test wants.
struct Site {
    logs: MemoryStores,
    tables: Faulty,
}

impl Site {
    fn new() -> Self {
        Self { logs: MemoryStores::new(), tables: Faulty::default() }
    }

    /// A directory as a process that has just begun has it.
    fn node(&self) -> LoggedDirectory {
        self.node_with(RECORD_BYTES)
    }

    fn node_with(&self, record_bytes: usize) -> LoggedDirectory {
        LoggedDirectory::new(Arc::new(self.logs.clone()), Arc::new(self.tables.clone()), record_bytes)
    }

    async fn head(&self) -> Head {
        self.logs.head(&LOG).await.expect("a head")
    }

    /// What the log says, from its first record.
    async fn told(&self) -> Folding {
        let mut folding = Folding::default();
        for record in self.logs.read(&LOG, Revision::ZERO, usize::MAX).await.expect("read") {
            folding.apply(&Record::decode(&record.bytes).expect("readable")).expect("it follows");
        }
        assert_eq!(folding.head, self.head().await);
        folding
    }

    /// The tables are what the log says.
    async fn is_told(&self) {
        let (kept, told) = (self.tables.inner.kept(), self.told().await);
        assert_eq!(kept.accounts, told.accounts);
        assert_eq!(kept.stand, Some(Stand { head: told.head, time: told.time, whole: true }));
    }
}

fn account(name: &str) -> Account {
    Account::new(name.parse().expect("valid"), "home".parse().expect("valid"), name.to_owned())
}

fn disabled(name: &str) -> Account {
    Account { disabled: true, ..account(name) }
}

fn ids(names: &[&str]) -> Vec<AccountId> {
    names.iter().map(|name| name.parse().expect("valid")).collect()
}

async fn get(directory: &LoggedDirectory, name: &str) -> Option<Account> {
    directory.get(&ids(&[name])).await.expect("got").remove(&ids(&[name])[0])
}

async fn all(directory: &LoggedDirectory) -> BTreeMap<AccountId, Account> {
    let page = directory.list(None, 1_000).await.expect("listed");
    assert!(!page.more);
    page.accounts.into_iter().map(|account| (account.account.clone(), account)).collect()
}

#[tokio::test]
async fn the_same_import_again_appends_nothing() {
    let site = Site::new();
    let import: Vec<Account> = (0..50).map(|nth| account(&format!("a{nth}"))).collect();
    site.node().put(&import).await.expect("put");
    let head = site.head().await;
    site.node().put(&import).await.expect("put");
    assert_eq!(site.head().await, head);
    site.node().put(&[disabled("a7")]).await.expect("put");
    assert_eq!(site.head().await.revision, head.revision.next(), "one change, one revision");
    site.is_told().await;
}

#[tokio::test]
async fn an_import_larger_than_a_record_is_put_in_pieces() {
    let site = Site::new();
    let import: Vec<Account> = (0..3_000).map(|nth| account(&format!("a{nth:05}"))).collect();
    site.node_with(4_000).put(&import).await.expect("put");
    let records = site.logs.read(&LOG, Revision::ZERO, usize::MAX).await.expect("read");
    assert!(records.len() > 50 && records.iter().all(|record| record.bytes.len() <= 4_000));
    site.is_told().await;
    assert_eq!(site.told().await.accounts.len(), import.len());
    let too_long = Account { name: "x".repeat(5_000), ..account("long") };
    assert!(matches!(site.node_with(4_000).put(&[too_long]).await, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn what_is_in_the_log_and_not_in_the_tables_is_caught_up_by_whoever_comes_next() {
    for fault in [Fault::Before, Fault::After] {
        let site = Site::new();
        let node = site.node();
        node.put(&[account("ada"), account("bob")]).await.expect("put");
        site.tables.fail(fault);
        let put = node.put(&[disabled("ada")]).await;
        assert!(matches!(put, Err(StoreError::Unknown(_))), "it is recorded: {put:?}");
        // Whoever has just begun, whoever heard of it, and who wrote it.
        for reader in [site.node(), node] {
            assert_eq!(get(&reader, "ada").await, Some(disabled("ada")), "{fault:?}");
        }
        site.is_told().await;
    }
}

#[tokio::test]
async fn a_disabled_account_is_disabled_still_when_the_tables_forgot_it() {
    let site = Site::new();
    let node = site.node();
    node.put(&[account("ada"), account("bob")]).await.expect("put");
    let older = site.tables.inner.kept();
    node.put(&[disabled("ada")]).await.expect("put");
    for forgotten in [Kept::default(), older.clone()] {
        for reader in [site.node(), site.node()] {
            site.tables.inner.put_back(forgotten.clone());
            assert_eq!(get(&reader, "ada").await, Some(disabled("ada")));
            site.is_told().await;
        }
        // Also for who is in the middle of its life, and for a whole page.
        site.tables.inner.put_back(forgotten);
        assert!(all(&node).await[&ids(&["ada"])[0]].disabled);
        site.is_told().await;
    }
    // Somebody who adds it anew does not, and cannot, begin over.
    site.tables.inner.put_back(Kept::default());
    site.node().put(&[account("cyd")]).await.expect("put");
    assert_eq!(site.told().await.accounts[&ids(&["ada"])[0]], disabled("ada"));
    site.is_told().await;
}

#[tokio::test]
async fn a_rebuild_that_is_interrupted_is_gone_on_with_and_read_by_nobody_before_it_ends() {
    let site = Site::new();
    let long = |nth: usize| Account { local_name: Some("x".repeat(80)), ..disabled(&format!("a{nth:05}")) };
    let import: Vec<Account> = (0..9_000).map(long).collect();
    site.node().put(&import).await.expect("put");
    let records = site.logs.read(&LOG, Revision::ZERO, usize::MAX).await.expect("read");
    assert!(records.iter().map(|record| record.bytes.len()).sum::<usize>() > 3 * 256 * 1024, "it takes several steps");
    site.tables.inner.put_back(Kept::default());
    // One step in each life, then the process dies.
    let (wanted, mut lives) = (ids(&["a08999"]), 0);
    loop {
        site.tables.fail_at(1, Fault::Before);
        match site.node().get(&wanted).await {
            Err(_) => assert!(site.tables.inner.kept().stand.is_some_and(|stand| !stand.whole)),
            Ok(got) => {
                assert_eq!(got.values().next(), Some(&long(8_999)));
                break;
            }
        }
        lives += 1;
        assert!(lives < 100, "it gets on");
    }
    assert!(lives >= 3, "{lives}");
    *site.tables.next.lock().expect("whole") = None;
    assert_eq!(get(&site.node(), "a00000").await, Some(long(0)));
    site.is_told().await;
}

#[tokio::test]
async fn tables_of_another_log_are_made_anew() {
    let (site, other) = (Site::new(), Site::new());
    site.node().put(&[account("ada"), account("eve")]).await.expect("put");
    site.node().put(&[account("fay")]).await.expect("put");
    for names in [&["ada", "bob"][..], &["ada", "cyd", "dan"], &["ada"]] {
        let accounts: Vec<Account> = names.iter().map(|name| disabled(name)).collect();
        other.node().put(&accounts).await.expect("put");
        // Shorter than the other log, as long, and longer on.
        let mixed = Site { logs: other.logs.clone(), tables: Faulty::default() };
        mixed.tables.inner.put_back(site.tables.inner.kept());
        if other.head().await.revision < site.head().await.revision {
            continue;
        }
        let node = mixed.node();
        assert_eq!(get(&node, "eve").await, None);
        assert_eq!(get(&node, "ada").await, Some(disabled("ada")));
        mixed.is_told().await;
    }
    assert!(other.head().await.revision > site.head().await.revision);
}

#[tokio::test]
async fn a_log_that_lost_what_was_seen_of_it_is_read_from_tables_and_not_built_upon() {
    let site = Site::new();
    site.node().put(&[disabled("ada")]).await.expect("put");
    let lost = Site { logs: MemoryStores::new(), tables: site.tables.clone() };
    let node = lost.node();
    assert_eq!(get(&node, "ada").await, Some(disabled("ada")));
    let put = node.put(&[account("bob")]).await;
    assert!(matches!(&put, Err(StoreError::Corrupt(why)) if why.contains("lost")), "{put:?}");
    // What is there already goes: a server that puts its administrator can start.
    assert_eq!(lost.node().put(&[disabled("ada")]).await, Ok(()));
    assert_eq!(lost.head().await, Head::EMPTY);
    // The right disk is back.
    assert_eq!(site.node().put(&[account("bob")]).await, Ok(()));
    site.is_told().await;
}

/// Kinds of some later day: one more than today.
#[derive(Clone, Serialize)]
#[expect(dead_code, reason = "they take the numbers of those that are known")]
enum Later {
    K0,
    K1,
    K2,
    K3,
    K4,
    K5,
    K6,
    K7,
    New,
}

#[tokio::test]
async fn what_a_later_version_wrote_stops_changes_and_not_reads() {
    let site = Site::new();
    let node = site.node();
    node.put(&[disabled("ada")]).await.expect("put");
    let before = site.head().await;
    let events = vec![Logged { event: Later::New, body: Body::None }];
    let entry = Entry { account: ids(&["ada"])[0].clone(), request: None, fingerprint: Fingerprint::default(), events };
    let record = Record { first: before.revision.next(), time: Timestamp(1), entries: vec![entry] };
    let after = record.extend(before).expect("it follows");
    assert_eq!(site.logs.append(&LOG, before, record.encode(), after).await, Ok(Appended::Done(after)));
    for node in [node, site.node()] {
        assert_eq!(get(&node, "ada").await, Some(disabled("ada")));
        for _ in 0..3 {
            let put = node.put(&[account("bob")]).await;
            assert!(matches!(&put, Err(StoreError::Corrupt(why)) if why.contains("unknown kind 8")), "{put:?}");
        }
        assert_eq!(site.head().await, after);
    }
    // Tables that do not hold all of it are not read.
    site.tables.inner.put_back(Kept::default());
    let node = site.node();
    for _ in 0..3 {
        let got = node.get(&ids(&["ada"])).await;
        assert!(matches!(got, Err(StoreError::Corrupt(_))), "{got:?}");
    }
}

#[tokio::test]
async fn a_change_of_another_node_is_seen_at_once_and_when_no_hint_came() {
    let site = Site::new();
    let (one, other) = (site.node(), site.node());
    one.put(&[account("ada")]).await.expect("put");
    assert_eq!(get(&other, "ada").await, Some(account("ada")));
    // The tables are behind, and hints came.
    let older = site.tables.inner.kept();
    one.put(&[disabled("ada")]).await.expect("put");
    site.tables.inner.put_back(older.clone());
    assert_eq!(get(&other, "ada").await, Some(disabled("ada")));
    // It goes on, and so many hints came since that those of it were lost.
    let older = site.tables.inner.kept();
    one.put(&[account("ada"), disabled("bob")]).await.expect("put");
    site.tables.inner.put_back(older);
    let other_log = LogId::Account(ids(&["zoe"])[0].clone());
    let mut writer = crate::conformance::Writer::of_account(&ids(&["zoe"])[0], 1);
    for _ in 0..=rules::WATCH_BACKLOG + 8 {
        writer.append(&site.logs.stores(), 1, 0).await;
    }
    assert!(site.logs.head(&other_log).await.expect("a head").revision.0 > rules::WATCH_BACKLOG as u64);
    assert_eq!(get(&other, "bob").await, Some(disabled("bob")));
    assert_eq!(get(&other, "ada").await, Some(account("ada")));
    site.is_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_import_at_once_nothing_is_lost() {
    const EACH: usize = 40;
    let site = Arc::new(Site::new());
    let nodes = [site.node(), site.node()].map(Arc::new);
    let mut writers = Vec::new();
    for (nth, node) in nodes.iter().enumerate() {
        for batch in 0..EACH {
            let node = node.clone();
            writers.push(tokio::spawn(async move {
                let own = format!("own-{nth}-{batch}");
                let import = [account("common"), account(&own), account(&format!("shared-{batch}"))];
                node.put(&import).await.expect("put");
                assert_eq!(get(&node, &own).await, Some(account(&own)));
            }));
        }
    }
    // The same account with two homes: one of them is first, and all of the other's batch is refused.
    let homes = ["here", "there"].map(|home| Account { site: home.parse().expect("valid"), ..account("moves") });
    let rivals: Vec<_> = nodes
        .iter()
        .zip(homes)
        .map(|(node, rival)| {
            let (node, beside) = (node.clone(), account(&format!("beside-{}", rival.site)));
            tokio::spawn(async move { node.put(&[rival, beside]).await })
        })
        .collect();
    for writer in writers {
        writer.await.expect("written");
    }
    let mut won = 0;
    for rival in rivals {
        match rival.await.expect("ran") {
            Ok(()) => won += 1,
            Err(why) => assert!(matches!(why, StoreError::Invalid(_)), "{why}"),
        }
    }
    assert_eq!(won, 1);
    site.is_told().await;
    let told = site.told().await.accounts;
    assert_eq!(told.len(), 1 + 2 * EACH + EACH + 2);
    assert_eq!(told.keys().filter(|id| id.as_str().starts_with("beside")).count(), 1);
}

#[tokio::test]
async fn tables_that_never_had_a_log_are_copied_into_one_once() {
    let rows: Vec<Account> = (0..2_500).map(|nth| disabled(&format!("a{nth:05}"))).collect();
    let accounts: BTreeMap<_, _> = rows.iter().map(|account| (account.account.clone(), account.clone())).collect();
    for interrupted in [false, true] {
        let site = Site::new();
        site.tables.inner.put_back(Kept { stand: None, accounts: accounts.clone() });
        if interrupted {
            // As somebody who died on the way leaves it: the log has the first ones, and is not the directory yet.
            let mut entries =
                chamberlain_core::directory::decide(&BTreeMap::new(), &by_id(&rows[..700]).expect("one home"))
                    .expect("new");
            let mut head = Head::EMPTY;
            while let Some((record, after)) = next_record(head, Timestamp(1), &mut entries, 8_000) {
                site.logs.append(&LOG, head, record.encode(), after).await.expect("appended");
                head = after;
            }
        }
        let (one, other) = (site.node_with(8_000), site.node_with(8_000));
        let (last, new) = (ids(&["a02499"]), [account("new")]);
        let (first, second) = tokio::join!(one.get(&last), other.put(&new));
        assert_eq!(first.expect("got").values().next(), Some(&disabled("a02499")));
        second.expect("put");
        site.is_told().await;
        let mut wanted = accounts.clone();
        wanted.insert(ids(&["new"])[0].clone(), account("new"));
        assert_eq!(site.told().await.accounts, wanted);
        assert!(site.told().await.opened);
        // Once: what lies in tables without a stand after that is worth nothing.
        site.tables.inner.put_back(Kept { stand: None, accounts: BTreeMap::new() });
        assert_eq!(get(&site.node(), "a00001").await, Some(disabled("a00001")));
        let stray = BTreeMap::from([(ids(&["stray"])[0].clone(), account("stray"))]);
        site.tables.inner.put_back(Kept { stand: None, accounts: stray });
        assert_eq!(get(&site.node(), "stray").await, None);
        site.is_told().await;
    }
}

/// What happens to a site with two nodes.
#[derive(Debug, Clone)]
enum Happens {
    Put {
        node: usize,
        given: Vec<Account>,
        fault: Option<Fault>,
    },
    Restart {
        node: usize,
    },
    Emptied,
    /// The tables as they were some moments ago.
    Older {
        moments: usize,
    },
    Look {
        node: usize,
    },
}

fn happens() -> impl Strategy<Value = Happens> {
    let entry = ("[a-e]", "[xy]?", any::<[bool; 2]>()).prop_map(|(id, name, [disabled, admin])| Account {
        name,
        disabled,
        admin,
        ..account(&id)
    });
    let fault = proptest::option::of(prop_oneof![Just(Fault::Before), Just(Fault::After)]);
    prop_oneof![
        6 => (0..2_usize, proptest::collection::vec(entry, 1..4), fault)
            .prop_map(|(node, given, fault)| Happens::Put { node, given, fault }),
        2 => (0..2_usize).prop_map(|node| Happens::Restart { node }),
        1 => Just(Happens::Emptied),
        2 => (0..6_usize).prop_map(|moments| Happens::Older { moments }),
        2 => (0..2_usize).prop_map(|node| Happens::Look { node }),
    ]
}

async fn play(happenings: Vec<Happens>, record_bytes: usize) {
    let site = Site::new();
    let mut nodes = [site.node_with(record_bytes), site.node_with(record_bytes)];
    let mut moments = vec![Kept::default()];
    // What each account may be: what was acknowledged last, and what was given since and not acknowledged.
    let mut may_be = BTreeMap::<AccountId, Vec<Option<Account>>>::new();
    for happening in happenings {
        match happening {
            Happens::Put { node, given, fault } => {
                if let Some(fault) = fault {
                    site.tables.fail(fault);
                }
                let put = nodes[node].put(&given).await;
                for (id, account) in by_id(&given).expect("one home") {
                    let known = may_be.entry(id).or_insert_with(|| vec![None]);
                    if put.is_ok() {
                        known.clear();
                    }
                    known.push(Some(account));
                }
                assert!(put.is_ok() || fault.is_some(), "{put:?}");
                *site.tables.next.lock().expect("whole") = None;
            }
            Happens::Restart { node } => nodes[node] = site.node_with(record_bytes),
            Happens::Emptied => site.tables.inner.put_back(Kept::default()),
            Happens::Older { moments: back } => {
                let nth = moments.len().saturating_sub(1 + back);
                site.tables.inner.put_back(moments[nth].clone());
            }
            Happens::Look { node } => {
                let told = site.told().await.accounts;
                assert_eq!(all(&nodes[node]).await, told);
                site.is_told().await;
            }
        }
        moments.push(site.tables.inner.kept());
        let told = site.told().await.accounts;
        for (id, known) in &may_be {
            assert!(known.contains(&told.get(id).cloned()), "{id} is {:?}, and may be {known:?}", told.get(id));
        }
    }
    for node in &nodes {
        assert_eq!(all(node).await, site.told().await.accounts);
        site.is_told().await;
    }
}

proptest! {
    /// However nodes die and tables are lost, whoever reads gets what the log says, and what was acknowledged is in it.
    #[test]
    fn tables_are_what_the_log_says_whatever_happened_to_them(
        happenings in proptest::collection::vec(happens(), 1..24),
        small: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(play(happenings, if small { 200 } else { RECORD_BYTES }));
    }
}

#[test]
fn every_kind_is_one_that_is_stored() {
    let bytes = chamberlain_core::codec::encode(&DirectoryChange::Opened);
    assert_eq!(bytes, [0], "kinds keep their numbers");
    let last = DirectoryChange::AdminSet { account: ids(&["a"])[0].clone(), admin: true };
    assert_eq!(chamberlain_core::codec::encode(&last)[0], 7, "`Later` has one more");
}
