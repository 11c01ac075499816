//! Positions and keys: what somebody may have who comes back, and what not.

use std::sync::Arc;

use chamberlain_core::id::{KeyVersion, Revision};
use chamberlain_core::keys::Blob;
use chamberlain_core::room::Command;
use chamberlain_core::wire::{Answer, ClientFrame, Open, Query, ResetWhy};

use crate::house::House;
use crate::person::Person;

pub(super) async fn invented_position(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let room = ada.channel(&["bob"]).await;
    ada.open(room);
    let said = ada.say(room, "before").await;
    ada.reach(room, said).await;
    house.witness.probe("a position was invented");
    let genuine = ada.rooms[&room].position.clone().expect("it is at the head");
    for position in [vec![0; 49], vec![0xff; 49], vec![1], genuine.iter().map(|byte| byte ^ 1).collect()] {
        bob.rooms.entry(room).or_default().reset = None;
        let position = Some(Blob::from(position));
        bob.send(ClientFrame::Open(Open { room, position, from: None, kinds: None, limit: None }));
        while bob.rooms[&room].reset.is_none() && bob.next().await.is_some() {}
        house.must(
            bob.rooms[&room].reset == Some(ResetWhy::UnknownPosition),
            "an invented position is told to be unknown",
        );
    }
    // The room goes on, for the inventor as well.
    let said = ada.say(room, "after").await;
    bob.open(room);
    house.must(bob.reach(room, said).await && ada.reach(room, said).await, "the room goes on");
    ada.leave().await;
    bob.leave().await;
}

pub(super) async fn offline_at_hand_out(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let mut eve = house.guest(2, "eve").await;
    let room = ada.channel(&["bob", "eve"]).await;
    for person in [&mut ada, &mut bob, &mut eve] {
        person.open(room);
        person.reach(room, Revision(5)).await;
    }
    let bob = bob.vanish();
    ada.ask(Command::Remove { room, accounts: vec![eve.account()] }).await;
    let said = ada.say(room, "without eve").await;
    let Some(mut bob) = Person::come(&house, 1, "bob", Some(bob)).await else { panic!("bob is let in") };
    bob.open(room);
    house.must(bob.reach(room, said).await, "who was away is caught up");
    house.must(bob.rooms[&room].keys.contains(&KeyVersion(1)), "who was away is given the key");
    let key = |version| Query::Key { room, version: Some(KeyVersion(version)) };
    house.must(matches!(bob.query(key(1)).await, Some(Ok(Answer::Key { .. }))), "who is in may ask for the key");
    while eve.rooms[&room].reset.is_none() && eve.next().await.is_some() {}
    house.must(eve.rooms[&room].reset == Some(ResetWhy::Removed), "who was removed is told");
    house.must(matches!(eve.query(key(1)).await, Some(Err(_))), "who was removed may not ask for the new key");
    house.must(matches!(eve.query(key(0)).await, Some(Ok(_))), "but for the one that it had");
    house.must(!eve.rooms[&room].keys.contains(&KeyVersion(1)), "who was removed was not given the key");
    for person in [ada, bob, eve] {
        person.leave().await;
    }
}
