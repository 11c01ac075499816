//! The embedded store on a disk that fails: what was answered is there, and nothing else is answered.

mod failures;
mod power;

use chamberlain_core::id::SiteId;
use chamberlain_core::site::MasterKey;

use super::{Embedded, OpenError, Options};
use crate::conformance;
use crate::faulty::Disk;

fn master() -> MasterKey {
    MasterKey::from_bytes([1; 32])
}

fn site() -> SiteId {
    "home".parse().expect("a site")
}

/// Small caches, so that pages are written early and read from the disk; no pause before opening anew.
fn options() -> Options {
    Options { cache_bytes: 64 * 1024, reopen_after: std::time::Duration::ZERO, ..Options::default() }
}

async fn open(disk: &Disk) -> Result<Embedded, OpenError> {
    Embedded::open_medium(disk.clone(), &master(), &site(), options()).await
}

#[tokio::test]
async fn it_conforms_over_a_backend() {
    conformance::run(async || open(&Disk::new(1)).await.expect("opened").stores()).await;
}

#[tokio::test]
async fn it_conforms_without_quick_repair() {
    let options = Options { quick_repair: false, ..options() };
    let open = async || Embedded::open_medium(Disk::new(1), &master(), &site(), options.clone()).await.expect("opened");
    conformance::run(async || open().await.stores()).await;
}

#[tokio::test]
async fn another_master_key_or_site_is_refused() {
    let disk = Disk::new(1);
    open(&disk).await.expect("made").close().await;
    let other = MasterKey::from_bytes([2; 32]);
    let refused = Embedded::open_medium(disk.clone(), &other, &site(), options()).await.err();
    assert!(matches!(refused, Some(OpenError::WrongMasterKey(_))), "{refused:?}");
    let away = "away".parse().expect("a site");
    let refused = Embedded::open_medium(disk.clone(), &master(), &away, options()).await.err();
    assert!(matches!(refused, Some(OpenError::OtherSite { .. })), "{refused:?}");
    open(&disk).await.expect("opened");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.redb");
    std::fs::write(&path, "neither empty nor a database, and longer than a header would be. ".repeat(100))
        .expect("written");
    let refused = Embedded::open_file(&path, &master(), &site(), options()).await.err();
    assert!(matches!(refused, Some(OpenError::Corrupt { .. })), "{refused:?}");
    drop(redb::Database::create(folder.path().join("other.redb")).map(|other| {
        let txn = other.begin_write().expect("begun");
        txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).expect("a table");
        txn.commit().expect("committed");
    }));
    let refused = Embedded::open_file(&folder.path().join("other.redb"), &master(), &site(), options()).await.err();
    assert!(matches!(refused, Some(OpenError::Corrupt { .. })), "{refused:?}");
}
