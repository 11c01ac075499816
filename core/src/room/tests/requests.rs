//! One answer to one request: RULES.md, "Idempotency".

use super::*;

#[test]
fn a_retry_is_answered_the_same_and_done_once() {
    let mut house = House::channel(&["bob"]);
    let commands = [
        house.say(1, text("x")),
        house.add(&["cyd"]),
        house.add(&["cyd"]),
        house.add_without_history(&["dan"]),
        house.rename("x"),
        house.role("bob", Role::Owner),
        house.edit(Revision(6), 1, text("y")),
        house.delete(Revision(6)),
        house.delete(Revision(6)),
        house.remove(&["cyd"]),
        Command::Rotate { room: house.room() },
        house.archive(),
    ];
    let mut asked = Vec::new();
    for command in commands {
        let request = house.request();
        let outcome = house.ask_as("ada", request, command.clone()).expect("done");
        asked.push((request, command, outcome));
    }
    let head = house.head;
    for (request, command, outcome) in asked {
        assert_eq!(house.ask_as("ada", request, command), Ok(outcome));
    }
    assert_eq!(house.head, head);
}

#[test]
fn a_retried_creation_finds_its_own_room() {
    let mut house = House::empty();
    let request = house.request();
    let create = Command::CreateChannel { name: "Hall".into(), accounts: Vec::new(), channels: Vec::new() };
    let first = house.ask_as("ada", request, create.clone());
    assert_eq!(first, Ok(Outcome::Created { room: house.room(), kind: RoomKind::Channel, exists: false }));
    assert_eq!(house.ask_as("ada", request, create), first);
}

#[test]
fn a_request_id_is_of_one_command_and_one_account() {
    let mut house = House::channel(&["bob"]);
    let request = house.request();
    let (say, other) = (house.say(1, text("x")), house.say(2, text("x")));
    house.ask_as("ada", request, say.clone()).expect("said");
    assert_eq!(
        house.ask_as("ada", request, other.clone()).map_err(|refused| refused.reason),
        Err(Reason::RequestReused)
    );
    let rename = house.rename("");
    let refused = house.ask_as("ada", request, rename).expect_err("the look-up comes first");
    assert_eq!(refused.reason, Reason::RequestReused);
    house.ask_as("bob", request, other).expect("another account's");
}

#[test]
fn the_answer_comes_before_every_check() {
    let mut house = House::channel(&["bob"]);
    let request = house.request();
    let say = house.say(1, text("x"));
    let first = house.ask_as("bob", request, say.clone());
    let remove = house.remove(&["bob"]);
    house.ask("ada", remove).expect("removed");
    let archive = house.archive();
    house.ask("ada", archive).expect("archived");
    house.people.clear();
    assert_eq!(house.ask_as("bob", request, say), first);
}

#[test]
fn a_message_id_is_of_one_content_and_one_sender() {
    let mut house = House::channel(&["bob"]);
    let say = house.say(1, text("x"));
    let first = house.ask("ada", say.clone()).expect("said");
    assert_eq!(house.ask("ada", say.clone()), Ok(first), "another request with the same message");
    let head = house.head;
    let other = house.say(1, text("y"));
    assert_eq!(house.refused("ada", other), Some(Reason::MessageReused));
    assert_eq!(house.head, head);
    assert_ne!(house.ask("bob", say).expect("another sender's"), first);
}

#[test]
fn what_changed_nothing_is_remembered_too() {
    let mut house = House::channel(&["bob"]);
    let request = house.request();
    let add = house.add(&["bob"]);
    let first = house.ask_as("ada", request, add.clone());
    assert_eq!(house.last_kinds(), ["unchanged"]);
    let remove = house.remove(&["bob"]);
    house.ask("ada", remove).expect("removed");
    assert_eq!(house.ask_as("ada", request, add), first);
    assert_eq!(house.members(), ["ada"]);
}

#[test]
fn refusals_are_not_remembered() {
    let mut house = House::channel(&[]);
    let request = house.request();
    let say = house.say(1, text("x"));
    assert!(house.ask_as("bob", request, say.clone()).is_err());
    let add = house.add(&["bob"]);
    house.ask("ada", add).expect("added");
    assert!(house.ask_as("bob", request, say).is_ok());
}

#[test]
fn the_oldest_answers_are_forgotten_first() {
    let mut house = House::channel(&[]);
    house.fold.requests.set_most(3);
    let mut asked = Vec::new();
    for n in 1..=5 {
        let request = house.request();
        let say = house.say(n, text("x"));
        house.ask_as("ada", request, say).expect("said");
        asked.push(request);
    }
    let ada = id("ada");
    let known: Vec<bool> = asked.iter().map(|request| house.fold.requests.answered(&ada, *request).is_some()).collect();
    assert_eq!(known, [false, false, true, true, true]);
    let sent: Vec<bool> = (1..=5).map(|n| house.fold.requests.sent(&ada, message_id(n)).is_some()).collect();
    assert_eq!(sent, [false, false, true, true, true]);
    assert_eq!(house.fold.requests.len(), 3);
}

#[test]
fn a_request_id_used_again_after_it_was_forgotten_is_remembered_anew() {
    let mut house = House::channel(&[]);
    house.fold.requests.set_most(2);
    let request = house.request();
    for (n, request) in [(1, Some(request)), (2, None), (3, None), (1, Some(request)), (4, None)] {
        let request = request.unwrap_or_else(|| house.request());
        let say = house.say(n, text("x"));
        house.ask_as("ada", request, say).expect("said");
    }
    assert!(house.fold.requests.answered(&id("ada"), request).is_some());
    assert!(house.fold.requests.sent(&id("ada"), message_id(1)).is_some());
}

#[test]
fn a_snapshot_holds_all_of_it() {
    let mut house = House::channel(&["bob"]);
    house.fold.requests.set_most(4);
    for n in 1..=6 {
        house.said("bob", n);
    }
    let leave = house.remove(&["bob"]);
    house.ask("bob", leave).expect("left");
    let snapshot = house.fold.to_snapshot();
    let mut read = Fold::from_snapshot(&snapshot).expect("readable");
    assert_eq!(read, house.fold);
    assert_eq!(read.to_snapshot(), snapshot);

    // Both go on the same.
    house.said("ada", 9);
    read.apply(house.log.last().expect("a record"), house.head).expect("follows");
    assert_eq!(read, house.fold);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let house = House::channel(&["bob"]);
    let good = house.fold.to_snapshot();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(Fold::from_snapshot(&bad).is_err(), "byte {at}");
        assert!(Fold::from_snapshot(&good[..at]).is_err(), "cut at {at}");
    }
}
