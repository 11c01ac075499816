//! Readers who are slower than the room.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::Revision;
use chamberlain_core::room::{Command, History};
use chamberlain_core::wire::ServerFrame;
use tokio::time::{sleep, timeout};

use crate::house::House;
use crate::person::Person;

const TEXT: &str = "a line that is as long as what people write to each other when they write more than a word or two";

/// Room after room is opened while its last record lands, and while the account's own log grows besides: the opening waits for
/// that one, and nothing later wakes it.
pub(super) async fn opened_while_it_grows(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let mut cay = house.guest(2, "cay").await;
    let beside = tokio::spawn(async move {
        for _ in 0..100 {
            cay.channel(&["bob"]).await;
        }
        cay
    });
    for round in 0..40 {
        let room = ada.channel(&["bob"]).await;
        bob.rest(Duration::from_millis(100)).await;
        bob.open(room);
        bob.rest(Duration::from_millis(round % 8 * 15)).await;
        let last = ada.say(room, TEXT).await;
        house.must(bob.reach(room, last).await, "what lands while a room is opened arrives");
    }
    for person in [ada, bob, beside.await.expect("it ends")] {
        person.leave().await;
    }
}

/// Somebody is added just after a room was made, while what follows from its beginning is still being carried out: what follows
/// from the addition comes by itself, and does not wait until something else happens in the house.
pub(super) async fn added_in_a_row(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    house.guest(2, "cay").await.leave().await;
    for round in 0..40 {
        let room = ada.channel(&["cay"]).await;
        ada.rest(Duration::from_millis(round % 20 * 10)).await;
        let accounts = vec!["bob".parse().expect("a name")];
        ada.ask(Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::All }).await;
        let told = timeout(Duration::from_secs(10), async {
            loop {
                match bob.next().await {
                    Some(ServerFrame::Account { event: AccountChange::Joined { room: joined, .. }, .. })
                        if joined == room =>
                    {
                        break true;
                    }
                    Some(_) => {}
                    None => break false,
                }
            }
        });
        house.must(told.await == Ok(true), "who is added to a room is told of it, though nothing else happens");
    }
    ada.leave().await;
    bob.leave().await;
}

pub(super) async fn for_ever(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let room = ada.channel(&["bob"]).await;
    bob.open(room);
    let writer = tokio::spawn(async move {
        let mut last = Revision::ZERO;
        for _ in 0..400 {
            last = ada.say(room, TEXT).await;
            sleep(Duration::from_millis(40)).await;
        }
        (ada, last)
    });
    // A frame every second: it takes bytes, always, and is always behind.
    let mut behind = 0;
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        house.must(bob.next().await.is_some(), "a reader who lags is not closed");
        behind += u32::from(bob.rooms.get(&room).is_some_and(|known| known.last < Revision(300)));
    }
    let (ada, last) = writer.await.expect("the writer ends");
    house.must(behind > 20, "the reader did lag");
    house.must(bob.reach(room, last).await, "a reader who lags arrives");
    house.must(bob.bye.is_none(), "and was never asked to leave");
    ada.leave().await;
    bob.leave().await;
}

pub(super) async fn slow_and_back(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let mut cay = house.guest(2, "cay").await;
    let room = ada.channel(&["bob", "cay"]).await;
    for person in [&mut bob, &mut cay] {
        person.open(room);
        person.reach(room, Revision(5)).await;
    }
    // Far more than the buffers on the way hold, while bob takes nothing.
    let mut last = Revision::ZERO;
    for _ in 0..300 {
        last = ada.say(room, TEXT).await;
        house.must(cay.reach(room, last).await, "others are not slowed");
    }
    sleep(Duration::from_secs(12)).await;
    while bob.next().await.is_some() {}
    let closed = house.server.metric("chamberlain_sockets_closed_total{code=\"4008\"}");
    house.must(closed >= 1, "who takes nothing is closed as slow");
    house.witness.probe("closed as slow");
    let had = bob.rooms[&room].last;
    house.must(had < last, "it did miss something");
    let Some(mut bob) = Person::come(&house, 1, "bob", Some(bob)).await else { panic!("bob is let in") };
    bob.open(room);
    house.must(bob.reach(room, last).await, "it resumes and arrives");
    for person in [ada, bob, cay] {
        person.leave().await;
    }
}
