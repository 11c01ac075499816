//! What the room says of itself: RULES.md, "System messages".

use super::*;

#[test]
fn a_room_says_what_happens_to_it() {
    let mut house = House::channel(&["bob"]);
    assert_eq!(house.last_said(), ["A new room has been created", "\"ADA\" added \"BOB\" to the channel"]);

    let steps: [(&str, Command, &str); 7] = [
        ("bob", house.add(&["cyd"]), "\"BOB\" added \"CYD\" to the channel"),
        ("ada", house.add(&["bob", "dan", "eve"]), "\"ADA\" added members to the channel"),
        ("ada", house.remove(&["cyd"]), "\"CYD\" has been removed from the channel"),
        ("bob", house.remove(&["bob"]), "\"BOB\" left the channel"),
        ("ada", house.rename("  The Hall "), "\"ADA\" renamed the channel to \"The Hall\""),
        ("ada", house.remove(&["dan", "eve"]), "2 members have been removed from the channel"),
        ("ada", house.archive(), "\"ADA\" archived the channel"),
    ];
    for (who, command, said) in steps {
        house.ask(who, command).expect("done");
        assert_eq!(house.last_said(), [said]);
    }
}

#[test]
fn a_channel_of_one_says_only_that_it_began() {
    assert_eq!(House::channel(&[]).last_said(), ["A new room has been created"]);
    assert_eq!(House::channel(&["bob", "cyd"]).last_said()[1], "\"ADA\" added members to the channel");
}

#[test]
fn a_retry_would_name_the_same_system_messages() {
    let keys = SiteKeys::new(id("home"), &MasterKey::from_bytes([7; 32]));
    let (room, request) = (RoomId::from_digest(&[5; 32]), RequestId::from_random([9; 16]));
    let name = |who: &str, nth| keys.system_message_id(room, &id(who), request, nth);
    assert_eq!(name("ada", 0), name("ada", 0));
    assert_ne!(name("ada", 0), name("ada", 1));
    assert_ne!(name("ada", 0), name("bob", 0));
}

#[test]
fn system_messages_are_sealed_under_the_version_that_comes_with_them() {
    let mut house = House::channel(&["bob"]);
    let remove = house.remove(&["bob"]);
    house.ask("ada", remove).expect("removed");
    let told = house.log.last().expect("a record").items().find_map(|item| item.event.sealed_under());
    assert_eq!(told, Some(KeyVersion(1)));
}

#[test]
fn what_the_room_says_has_no_ordinal_of_its_own() {
    let mut house = House::channel(&["bob"]);
    house.said("ada", 1);
    let rename = house.rename("x");
    house.ask("ada", rename).expect("renamed");
    house.said("ada", 2);
    assert_eq!(house.state().messages(), 2);
}
