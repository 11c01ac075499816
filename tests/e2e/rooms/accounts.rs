//! Accounts: how many connections one may have, and what it means to be shut out.

use chamberlain_core::room::{Command, Event, History, Outcome, Reason, Role};
use chamberlain_core::wire::{ClientFrame, Codec, Hello, ResetWhy};

use super::{add, members, plain, view};
use crate::harness::{Client, Server, account};

#[tokio::test]
async fn the_seventeenth_connection_of_an_account_is_turned_away_and_the_others_stay() {
    let server = Server::start();
    let mut all = Vec::new();
    for nth in 0..16 {
        all.push(Client::connect(server.address, "ada", Codec::ALL[nth % 2]).await);
    }
    let mut one_more = Client::dial(server.address, "ada", Codec::Json).await;
    one_more.send(&ClientFrame::Hello(Hello { token: "ada".into(), batch: true })).await;
    assert_eq!(one_more.until_closed().await, 4009);
    assert_eq!(one_more.bye.map(|bye| bye.0), Some(4009));
    assert_eq!(one_more.refusals[0].reason, Reason::TooManySockets);

    let room = all[0].channel("garden", &[]).await;
    for client in &mut all {
        client.settle().await;
    }
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    bob.settle().await;

    // When one leaves, another may come.
    drop(all.pop());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let mut again = Client::dial(server.address, "ada", Codec::Json).await;
        again.send(&ClientFrame::Hello(Hello { token: "ada".into(), batch: true })).await;
        again.until_answered().await;
        if again.welcome.is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "a place that was given up is not given again");
    }
    let said = all[0].say(room, "sixteen of me").await;
    assert!(said.0 > 0);
}

#[tokio::test]
async fn a_disabled_account_is_out_everywhere_and_what_it_owned_has_an_heir() {
    let server = Server::start_with_root();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    let mut cyd = Client::connect(server.address, "cyd", Codec::Json).await;
    let mut ada = Client::connect(server.address, "ada", Codec::Bincode).await;
    let mut root = Client::connect(server.address, "root", Codec::Json).await;
    // Bob owns one channel, is a member of another, and talks with ada.
    let owned = bob.channel("of bob", &["cyd"]).await;
    bob.done(add(owned, &["ada"], History::All)).await;
    let shared = ada.channel("of ada", &["bob"]).await;
    let Ok(Outcome::Created { room: dm, .. }) = bob.command(Command::CreateDm { account: account("ada") }).await else {
        panic!("no direct message room")
    };
    bob.open(shared).await;
    cyd.enter(owned).await;
    ada.enter(dm).await;

    assert_eq!(cyd.refused(Command::DisableAccount { account: account("bob") }).await.reason, Reason::NotAdmin);
    let unknown = root.refused(Command::DisableAccount { account: account("nobody") }).await;
    assert_eq!(unknown.reason, Reason::UnknownAccount);
    let disabled = root.command(Command::DisableAccount { account: account("bob") }).await;
    assert_eq!(disabled.unwrap(), Outcome::Disabled { rooms: 3 });

    // His connections end, and he does not come back.
    assert_eq!(bob.until_closed().await, 4003);
    assert_eq!(bob.bye.map(|bye| bye.0), Some(4003));
    let mut back = Client::dial(server.address, "bob", Codec::Json).await;
    back.send(&ClientFrame::Hello(Hello { token: "bob".into(), batch: true })).await;
    assert_eq!(back.until_closed().await, 4003);
    assert_eq!(back.refusals[0].reason, Reason::AccountDisabled);

    // He is in no room any more, and every key has moved on.
    for room in [owned, shared, dm] {
        let (all, ..) = members(&mut ada, room, None, 10).await;
        assert!(all.iter().all(|member| member.account != account("bob")), "still in {room}");
        assert_eq!(view(&mut ada, room).await.unwrap().key.version.0, 1);
    }
    // The longest-standing member is the heir, and the room says so.
    let head = view(&mut cyd, owned).await.unwrap().head;
    cyd.reach(owned, head).await;
    assert_eq!(view(&mut cyd, owned).await.unwrap().role, Role::Owner);
    let heir = Event::RoleSet { account: account("cyd"), role: Role::Owner };
    assert!(cyd.rooms[&owned].items.values().any(|item| item.event == heir));
    assert!(cyd.find(owned, "\"cyd\" is now the owner of the channel").is_some());
    assert!(cyd.find(owned, "\"bob\" has been removed from the channel").is_some());
    // Nobody adds him.
    let refusal = ada.refused(add(shared, &["bob"], History::All)).await;
    assert_eq!(refusal.reason, Reason::AccountDisabled);
    ada.done(plain(shared, "it is quiet here")).await;
    assert_ne!(ada.rooms[&shared].reset, Some(ResetWhy::Removed));
}
