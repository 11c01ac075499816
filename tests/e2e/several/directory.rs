//! The directory is what its log says, also when Valkey forgot the tables: who is shut out stays out, and names are there.

use chamberlain_core::room::Reason;
use chamberlain_core::wire::{ClientFrame, Codec, Hello};

use super::site::{ACCOUNTS, node};
use super::valkey;
use crate::harness::{Client, Server};
use crate::nats;

const ROWS: &str = "chamberlain:{local/directory}:accounts";
const IDS: &str = "chamberlain:{local/directory}:ids";

/// Signs in as somebody who is shut out. Whom the directory does not know would be added to it.
async fn is_shut_out(node: &Server, name: &str) {
    let mut client = Client::dial(node.address, name, Codec::Json).await;
    client.send(&ClientFrame::Hello(Hello { token: name.into(), batch: true })).await;
    assert_eq!(client.until_closed().await, 4003);
    assert_eq!(client.refusals[0].reason, Reason::AccountDisabled);
}

fn knows_everybody(node: &Server) {
    let list = node.ok(&["account", "list"]);
    assert!(list.contains("Ada Lovelace") && list.contains("Eve Under"), "{list}");
    assert!(node.ok(&["account", "show", "eve"]).contains("shut out       yes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_shut_out_stays_out_when_valkey_forgot_the_directory() {
    let nats = nats::Server::start_with(nats::Version::Current, ACCOUNTS);
    let mut vault = valkey::Server::strict();
    let at = (nats.url(), vault.url());
    let [mut one, mut other] = [0, 1].map(|nth| node(nth, &at));
    one.go();
    other.go();
    one.accounts("account,name\nada,Ada Lovelace\neve,Eve\n");
    let earlier = vault.copy_files();
    other.accounts("account,name\nada,Ada Lovelace\neve,Eve Under\n");
    one.ok(&["account", "disable", "eve"]);
    knows_everybody(&one);

    // Under nodes that run.
    assert_eq!(vault.ask(&["DEL", ROWS, IDS]), ":2");
    for node in [&one, &other] {
        is_shut_out(node, "eve").await;
        knows_everybody(node);
    }
    // And before they begin.
    for node in [&mut one, &mut other] {
        assert_eq!(node.stop(), Some(0));
    }
    assert_eq!(vault.ask(&["DEL", ROWS, IDS]), ":2");
    one.go();
    is_shut_out(&one, "eve").await;
    knows_everybody(&one);
    assert_eq!(one.stop(), Some(0));

    // A server of an earlier time, from before she was shut out. Who begins now does not know that it was another.
    vault.kill();
    drop(vault.replace_files(Some(earlier.path())));
    vault.restart();
    other.go();
    is_shut_out(&other, "eve").await;
    knows_everybody(&other);
    let mut ada = Client::connect(other.address, "ada", Codec::Json).await;
    let room = ada.channel("all is well", &[]).await;
    ada.say(room, "here").await;
}
