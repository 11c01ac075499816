//! The conformance suite over the stores of this crate, each as it is used in production.

use std::sync::Arc;

use chamberlain_core::site::MasterKey;
use chamberlain_stores::directory::LoggedDirectory;
use chamberlain_stores::directory::memory::MemoryTables;
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Stores, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conformance::run(async || MemoryStores::new().stores()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_may_share_their_stores() {
    let stores = MemoryStores::new().stores();
    conformance::run(async || stores.clone()).await;
}

/// These stores, with a directory that is a log of theirs.
fn logged(stores: Stores, record_bytes: usize) -> Stores {
    let directory = LoggedDirectory::new(stores.logs.clone(), Arc::new(MemoryTables::new()), record_bytes);
    Stores { directory: Arc::new(directory), ..stores }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_over_its_log_conforms() {
    for record_bytes in [512 * 1024, 1_000] {
        conformance::run(async || logged(MemoryStores::new().stores(), record_bytes)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (site, master) = ("home".parse().expect("a site"), MasterKey::from_bytes([1; 32]));
    let embedded = Embedded::open(folder.path(), &master, &site, Options::default()).await.expect("opened");
    let stores = logged(embedded.stores(), 512 * 1024);
    conformance::run(async || stores.clone()).await;
    let report = embedded.verify(|_| ()).await.expect("walked");
    assert!(report.problems.iter().all(|problem| problem.what.contains("snapshot")), "{:?}", report.problems);
    embedded.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_conforms_on_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = "home".parse().expect("a site");
    let master = MasterKey::from_bytes([1; 32]);
    let open = async || Embedded::open(folder.path(), &master, &site, Options::default()).await.expect("opened");
    let embedded = open().await;
    conformance::run(async || embedded.stores()).await;
    let report = embedded.verify(|_| ()).await.expect("walked");
    // The suite keeps snapshots of logs that it never writes.
    assert!(report.problems.iter().all(|problem| problem.what.contains("snapshot")), "{:?}", report.problems);
    assert!(report.logs > 20 && report.secrets > 5 && report.erased > 1 && report.destroyed > 1);
    embedded.close().await;
    let again = open().await.verify(|_| ()).await.expect("walked");
    assert_eq!(again, report);
}
