//! Ends and beginnings: of the server, of its clock's hour, of a client nobody heard from again.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::room::{Outcome, Reason};
use chamberlain_core::wire::{Answer, ClientFrame};
use chamberlain_stores::faulty::Faults;
use tokio::sim::Clock;
use tokio::time::sleep;

use crate::house::House;
use crate::person::Person;
use crate::witness::now;

/// Asks for messages one after the other until the connection is gone; what was asked, and the revision where it was answered.
async fn talk(mut person: Person, room: RoomId) -> (Person, Vec<(ClientFrame, Option<Revision>)>) {
    let mut asked = Vec::new();
    while !person.ended && asked.len() < 400 {
        let command = person.words(room, "on and on");
        let id = person.begin(command.clone());
        let answer = tokio::time::timeout(Duration::from_secs(3), person.answer(id)).await;
        let revision = match answer {
            Ok(Some(Ok(Answer::Outcome(Outcome::Sent { revision, .. })))) => Some(revision),
            Ok(Some(Err(Reason::Draining)) | None) => None,
            Err(_) => {
                person.hang_up();
                None
            }
            other => panic!("{other:?}"),
        };
        asked.push((ClientFrame::Command { id, command }, revision));
        sleep(Duration::from_millis(3)).await;
    }
    (person, asked)
}

/// Asks everything again, and compares the answers.
async fn again(house: &Arc<House>, person: &mut Person, asked: Vec<(ClientFrame, Option<Revision>)>) {
    for (frame, before) in asked {
        let ClientFrame::Command { id, .. } = &frame else { continue };
        let id = *id;
        person.send(frame);
        match person.answer(id).await {
            Some(Ok(Answer::Outcome(Outcome::Sent { revision, .. }))) => {
                house.must(before.is_none_or(|before| before == revision), "a retry is answered as before");
            }
            other => house.objects(format!("a retry was answered {other:?}")),
        }
    }
}

pub(super) async fn drain(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let room = ada.channel(&["bob"]).await;
    bob.open(room);
    let talking = tokio::spawn(talk(ada, room));
    let listening = tokio::spawn(async move {
        while bob.next().await.is_some() {}
        bob
    });
    sleep(Duration::from_millis(700)).await;
    house.witness.probe("drained under load");
    let begun = now();
    house.server.drain().await;
    house.must(now() - begun < 12_000_000, "a drain ends within twice its window");
    let (ada, asked) = talking.await.expect("it ends");
    let bob = listening.await.expect("it ends");
    house.must(asked.iter().filter(|(_, revision)| revision.is_some()).count() > 20, "there was load");
    for person in [&ada, &bob] {
        let told = person.bye.is_some_and(|(code, again)| code == 4013 && again.is_some());
        house.must(told, "everybody is told when to return");
    }
    house.server.revive();
    house.server.until_up().await;
    let Some(mut ada) = Person::come(&house, 0, "ada", Some(ada)).await else { panic!("ada is let in") };
    let Some(mut bob) = Person::come(&house, 1, "bob", Some(bob)).await else { panic!("bob is let in") };
    again(&house, &mut ada, asked).await;
    let last = ada.say(room, "the end").await;
    bob.open(room);
    house.must(bob.reach(room, last).await, "who returns is caught up");
    ada.leave().await;
    bob.leave().await;
}

pub(super) async fn power(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let room = ada.channel(&["bob"]).await;
    let mut person = Some(ada);
    for nth in 0..12_u64 {
        let talking = tokio::spawn(talk(person.take().expect("it came back"), room));
        let disk = house.server.disk();
        // Within one of the calls of a commit, each time another.
        disk.set_faults(Faults { crash_at: Some(disk.calls() + 20 + nth * 7), ..Faults::default() });
        let late = now() + 20_000_000;
        while !disk.has_crashed() && now() < late {
            sleep(Duration::from_micros(100)).await;
        }
        house.must(disk.has_crashed(), "the power failed in a commit");
        house.witness.probe("power failed in a commit");
        house.server.power_off();
        sleep(Duration::from_millis(500)).await;
        house.server.revive();
        house.server.until_up().await;
        let (before, asked) = talking.await.expect("it ends");
        let Some(mut ada) = Person::come(&house, 0, "ada", Some(before)).await else { panic!("ada is let in") };
        again(&house, &mut ada, asked).await;
        person = Some(ada);
    }
    if let Some(ada) = person {
        ada.leave().await;
    }
}

pub(super) async fn clock_goes_back(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let mut bob = house.guest(1, "bob").await;
    let room = ada.channel(&["bob"]).await;
    bob.open(room);
    for offset in [-3_600_000_000, 7_200_000_000, 0] {
        house.witness.fault(format!("the server's clock is off by {offset} µs"));
        house.witness.probe("clock jumped");
        tokio::sim::set_clock(house.server.host(), Clock { offset, drift: 0 });
        ada.say(room, "what hour is it?").await;
        // The account's log as well as the room's.
        ada.channel(&["bob"]).await;
    }
    let last = ada.say(room, "never mind").await;
    house.must(bob.reach(room, last).await, "nobody waits for an hour to come");
    ada.leave().await;
    bob.leave().await;
}

pub(super) async fn silence(house: Arc<House>) {
    let mut ada = house.guest(0, "ada").await;
    let bob = house.guest(1, "bob").await;
    let room = ada.channel(&["bob"]).await;
    house.witness.probe("connection lost in silence");
    let bob = bob.vanish();
    house.must(Person::come(&house, 2, "bob", None).await.is_none(), "his place is still taken");
    ada.rest(Duration::from_secs(12)).await;
    let Some(mut bob) = Person::come(&house, 1, "bob", Some(bob)).await else { panic!("his place is free again") };
    let last = ada.say(room, "you are back").await;
    bob.open(room);
    house.must(bob.reach(room, last).await, "he is caught up");
    ada.leave().await;
    bob.leave().await;
}
