//! Who is in a room, as what, and what becomes of it when they go.

use super::*;

#[test]
fn a_new_channel_is_one_record() {
    let house = House::channel(&["bob", "cyd"]);
    assert_eq!(house.last_kinds(), ["created", "members_added", "key_rotated", "message", "message"]);
    assert_eq!(house.members(), ["ada", "bob", "cyd"]);
    assert_eq!(house.state().member(&id("ada")).map(|m| m.role), Some(Role::Owner));
    assert_eq!(house.state().member(&id("bob")).map(|m| m.role), Some(Role::Member));
    assert_eq!((house.state().member_count(), house.state().owner_count()), (3, 1));
    assert_eq!(house.version(), KeyVersion::FIRST);
    assert_eq!(house.state().site().map(|site| site.as_str()), Some("home"));
}

#[test]
fn names_are_taken_once_and_the_requester_is_in_anyway() {
    let house = House::channel(&["bob", "ada", "bob"]);
    assert_eq!(house.members(), ["ada", "bob"]);
    assert_eq!(house.last_said()[1], "\"ADA\" added \"BOB\" to the channel");
}

#[test]
fn who_was_there_is_not_added_again() {
    let mut house = House::channel(&["bob"]);
    let add = house.add(&["bob", "cyd", "cyd"]);
    house.ask("bob", add).expect("added");
    assert_eq!(house.members(), ["ada", "bob", "cyd"]);
    assert_eq!(house.last_kinds(), ["members_added", "message"]);
    assert_eq!(house.last_said(), ["\"BOB\" added \"CYD\" to the channel"]);
}

#[test]
fn bots_and_the_disabled_do_not_come_along_from_a_channel() {
    let mut house = House::channel(&[]);
    house.from_channels = ids(&["bob", "robot", "gone", "unlisted"]);
    let room = house.room();
    let add = |bots| Command::Add {
        room,
        accounts: Vec::new(),
        channels: alloc::vec![RoomId::from_digest(&[6; 32])],
        bots,
        history: History::All,
    };
    house.ask("ada", add(false)).expect("added");
    assert_eq!(house.members(), ["ada", "bob", "unlisted"]);
    house.ask("ada", add(true)).expect("added");
    assert_eq!(house.members(), ["ada", "bob", "robot", "unlisted"]);
}

#[test]
fn members_of_channels_count_towards_what_one_command_may_add() {
    let mut house = House::channel(&[]);
    house.limits.accounts_per_command = 2;
    house.from_channels = ids(&["bob", "cyd", "dan"]);
    let add = house.add(&[]);
    assert_eq!(house.refused("ada", add), Some(Reason::TooMany));
}

#[test]
fn removal_rotation_and_message_are_one_record() {
    let mut house = House::channel(&["bob", "cyd"]);
    let remove = house.remove(&["bob", "cyd"]);
    house.ask("ada", remove).expect("removed");
    assert_eq!(house.last_kinds(), ["members_removed", "key_rotated", "message"]);
    assert_eq!((house.members(), house.version()), (alloc::vec!["ada"], KeyVersion(1)));
}

#[test]
fn additions_and_roles_do_not_rotate() {
    let mut house = House::channel(&["bob"]);
    for command in [house.add(&["cyd"]), house.add(&["cyd"]), house.role("bob", Role::Owner), house.rename("x")] {
        house.ask("ada", command).expect("done");
        assert_eq!(house.version(), KeyVersion::FIRST);
    }
}

#[test]
fn the_last_to_leave_ends_the_channel() {
    let mut house = House::channel(&[]);
    let leave = house.remove(&["ada"]);
    house.ask("ada", leave).expect("left");
    assert_eq!(house.last_kinds(), ["members_removed", "key_rotated", "message", "archived"]);
    assert!(house.state().is_archived());
    assert_eq!((house.state().member_count(), house.state().owner_count()), (0, 0));
    let say = house.say(1, text("anybody?"));
    assert_eq!(house.refused("ada", say), Some(Reason::NotAMember));
}

#[test]
fn an_owner_may_leave_to_another_owner() {
    let mut house = House::channel(&["bob"]);
    let promote = house.role("bob", Role::Owner);
    house.ask("ada", promote).expect("promoted");
    let leave = house.remove(&["ada"]);
    house.ask("ada", leave.clone()).expect("left");
    assert_eq!(house.members(), ["bob"]);
    let leave = house.remove(&["bob"]);
    house.ask("bob", leave).expect("left");
    assert!(house.state().is_archived());
}

#[test]
fn both_owners_cannot_step_down() {
    let mut house = House::channel(&["bob"]);
    for (who, command, refused) in [
        ("ada", house.role("bob", Role::Owner), None),
        ("bob", house.role("ada", Role::Member), None),
        ("bob", house.role("bob", Role::Member), Some(Reason::LastOwner)),
        ("bob", house.remove(&["bob"]), Some(Reason::LastOwner)),
    ] {
        assert_eq!(house.refused(who, command), refused);
    }
}

#[test]
fn who_returns_returns_as_a_member() {
    let mut house = House::channel(&["bob"]);
    for command in [house.role("bob", Role::Owner), house.remove(&["bob"]), house.add(&["bob"])] {
        house.ask("ada", command).expect("done");
    }
    assert_eq!(house.state().member(&id("bob")).map(|m| m.role), Some(Role::Member));
}

#[test]
fn the_shut_out_owner_is_followed_by_the_longest_standing_member() {
    let mut house = House::channel(&["cyd"]);
    for accounts in [["bob"], ["dan"]] {
        let add = house.add(&accounts);
        house.ask("ada", add).expect("added");
    }
    house.ask("root", Command::DisableAccount { account: id("ada") }).expect("shut out");
    assert_eq!(house.state().member(&id("cyd")).map(|m| m.role), Some(Role::Owner));
    assert_eq!(house.state().owner_count(), 1);
    assert_eq!(house.version(), KeyVersion(1));
    assert_eq!(
        house.last_said(),
        ["\"ADA\" has been removed from the channel", "\"CYD\" is now the owner of the channel"]
    );
}

#[test]
fn a_channel_left_to_bots_ends() {
    let mut house = House::channel(&[]);
    let room = house.room();
    let add = Command::Add { room, accounts: ids(&["robot"]), channels: Vec::new(), bots: true, history: History::All };
    house.ask("ada", add).expect("added");
    house.ask("root", Command::DisableAccount { account: id("ada") }).expect("shut out");
    assert!(house.state().is_archived());
    assert_eq!(house.members(), ["robot"]);
}

#[test]
fn nobody_is_made_owner_before_it_is_known_who_it_is() {
    let mut house = House::channel(&[]);
    let room = house.room();
    let add = Command::Add { room, accounts: ids(&["robot"]), channels: Vec::new(), bots: true, history: History::All };
    house.ask("ada", add).expect("added");
    // The bot came after people were looked up.
    let robot = house.people.remove(&id("robot")).expect("known");
    assert_eq!(house.refused("root", Command::DisableAccount { account: id("ada") }), Some(Reason::Overtaken));
    house.people.insert(id("robot"), robot);
    house.ask("root", Command::DisableAccount { account: id("ada") }).expect("shut out");
    assert!(house.state().is_archived());
}

#[test]
fn shutting_out_who_is_not_there_is_remembered_and_changes_nothing() {
    let mut house = House::channel(&["bob"]);
    house.ask("root", Command::DisableAccount { account: id("dan") }).expect("done");
    assert_eq!(house.last_kinds(), ["unchanged"]);
}

#[test]
fn a_direct_message_room_is_there_whoever_asks_first() {
    let mut house = House::dm();
    assert_eq!(house.last_kinds(), ["created", "members_added", "key_rotated", "message"]);
    let (room, kind) = (house.room(), RoomKind::Dm);
    for who in ["bob", "ada"] {
        let other = if who == "ada" { "bob" } else { "ada" };
        let outcome = house.ask(who, Command::CreateDm { account: id(other) });
        assert_eq!(outcome, Ok(Outcome::Created { room, kind, exists: true }));
    }
    assert_eq!(house.log.len(), 1);
    assert_eq!(house.state().counterpart(&id("ada")), Some(&id("bob")));
    assert_eq!(house.state().counterpart(&id("bob")), Some(&id("ada")));
    assert_eq!(house.state().owner_count(), 0);
}

#[test]
fn notes_to_oneself_have_one_member() {
    let mut house = House::empty();
    house.ask("ada", Command::CreateDm { account: id("ada") }).expect("created");
    assert_eq!(house.members(), ["ada"]);
    assert_eq!(house.state().counterpart(&id("ada")), Some(&id("ada")));
    assert_eq!(house.state().kind(), Some(RoomKind::Dm));
}

#[test]
fn a_bot_makes_it_a_room_with_a_bot() {
    let mut house = House::empty();
    house.ask("ada", Command::CreateDm { account: id("robot") }).expect("created");
    assert_eq!(house.state().kind(), Some(RoomKind::BotDm));
}

#[test]
fn who_was_shut_out_finds_the_room_of_two_again() {
    let mut house = House::dm();
    house.ask("root", Command::DisableAccount { account: id("bob") }).expect("shut out");
    assert_eq!((house.members(), house.version()), (alloc::vec!["ada"], KeyVersion(1)));
    assert!(!house.state().is_archived());

    let request = house.request();
    let again = Command::CreateDm { account: id("bob") };
    let found = house.ask_as("ada", request, again.clone());
    assert_eq!(found, Ok(Outcome::Created { room: house.room(), kind: RoomKind::Dm, exists: true }));
    assert_eq!(house.members(), ["ada", "bob"]);
    assert_eq!(house.ask_as("ada", request, again), found);
}

#[test]
fn rooms_are_named_by_who_asks() {
    let keys = SiteKeys::new(id("home"), &MasterKey::from_bytes([7; 32]));
    let (ada, bob) = (id("ada"), id("bob"));
    assert_eq!(keys.dm_id(&ada, &bob), keys.dm_id(&bob, &ada));
    assert_ne!(keys.dm_id(&ada, &ada), keys.dm_id(&ada, &bob));
    // The lengths are hashed too.
    assert_ne!(keys.dm_id(&id("a"), &id("bc")), keys.dm_id(&id("ab"), &id("c")));
    let (one, two) = (RequestId::from_random([1; 16]), RequestId::from_random([2; 16]));
    assert_eq!(keys.channel_id(&ada, one), keys.channel_id(&ada, one));
    assert_ne!(keys.channel_id(&ada, one), keys.channel_id(&ada, two));
    assert_ne!(keys.channel_id(&ada, one), keys.channel_id(&bob, one));
    let other_site = SiteKeys::new(id("home"), &MasterKey::from_bytes([8; 32]));
    assert_ne!(keys.channel_id(&ada, one), other_site.channel_id(&ada, one));
}
