//! The table of refusals in RULES.md, "Commands", row by row; and the order of its checks.

use super::*;
use crate::room::refused::Reason as R;

/// What is tried, in which house, by whom, and what comes of it.
type Row = (&'static str, fn() -> House, &'static str, fn(&House) -> Command, Option<R>);

/// Asks in a house made by `make`, and expects the refusal.
fn table(rows: &[Row]) {
    for (what, make, who, command, expected) in rows {
        let mut house = make();
        let command = command(&house);
        assert_eq!(house.refused(who, command), *expected, "{what}");
    }
}

fn hall() -> House {
    House::channel(&["bob", "cyd"])
}

fn archived() -> House {
    let mut house = hall();
    let archive = house.archive();
    house.ask("ada", archive).expect("archived");
    house
}

/// Room for three.
fn full() -> House {
    let mut house = hall();
    house.limits.room_members = 3;
    house.limits.accounts_per_command = 2;
    house
}

/// A hall that knows of a foreign channel.
fn foreign() -> House {
    let mut house = hall();
    house.foreign_channel = true;
    house
}

fn create(name: &str, accounts: &[&str]) -> Command {
    Command::CreateChannel { name: name.into(), accounts: ids(accounts), channels: Vec::new() }
}

fn bots_too(house: &House, accounts: &[&str]) -> Command {
    let (room, accounts) = (house.room(), ids(accounts));
    Command::Add { room, accounts, channels: Vec::new(), bots: true, history: History::All }
}

#[test]
fn creating_a_channel_is_refused_in_the_order_of_the_table() {
    fn small() -> House {
        let mut house = House::empty();
        house.limits.room_members = 3;
        house.limits.accounts_per_command = 3;
        house
    }
    fn outsider() -> House {
        let mut house = small();
        house.foreign_channel = true;
        house
    }
    table(&[
        ("blank name", House::empty, "nobody", |_| create("  ", &["robot", "nobody"]), Some(R::InvalidName)),
        ("101 characters", House::empty, "ada", |_| create(&"ä".repeat(101), &[]), Some(R::InvalidName)),
        ("100 characters", House::empty, "ada", |_| create(&alloc::format!(" {} ", "ä".repeat(100)), &[]), None),
        ("a bot named", House::empty, "nobody", |_| create("x", &["robot", "who"]), Some(R::BotNotAllowed)),
        ("requester unknown", House::empty, "nobody", |_| create("x", &["who"]), Some(R::UnknownAccount)),
        ("requester disabled", House::empty, "gone", |_| create("x", &["who"]), Some(R::AccountDisabled)),
        ("requester a bot", House::empty, "robot", |_| create("x", &[]), Some(R::BotNotAllowed)),
        ("account unknown", outsider, "ada", |_| create("x", &["who", "bob"]), Some(R::UnknownAccount)),
        ("foreign channel", outsider, "ada", |_| create("x", &["bob", "cyd", "dan", "eve"]), Some(R::NotAMember)),
        ("full, and too many", small, "ada", |_| create("x", &["bob", "cyd", "dan", "eve"]), Some(R::RoomFull)),
        ("too many names", small, "ada", |_| create("x", &["bob", "bob", "cyd", "cyd"]), Some(R::TooMany)),
        ("a disabled account", small, "ada", |_| create("x", &["gone"]), Some(R::AccountDisabled)),
        ("a channel of one", House::empty, "ada", |_| create("x", &[]), None),
    ]);
}

#[test]
fn creating_a_direct_message_room_is_refused_in_the_order_of_the_table() {
    fn dead_robot() -> House {
        let mut house = House::empty();
        house.people.insert(id("robot"), Profile { bot: true, disabled: true, ..profile("robot") });
        house
    }
    let dm = |account| Command::CreateDm { account: id(account) };
    let cases = [
        (House::empty(), "nobody", "bob", Some(R::UnknownAccount)),
        (House::empty(), "gone", "bob", Some(R::AccountDisabled)),
        (House::empty(), "ada", "who", Some(R::UnknownAccount)),
        (House::empty(), "ada", "gone", Some(R::AccountDisabled)),
        (dead_robot(), "ada", "robot", Some(R::AccountDisabled)),
        (House::empty(), "ada", "robot", None),
        (House::empty(), "ada", "ada", None),
    ];
    for (mut house, who, other, expected) in cases {
        assert_eq!(house.refused(who, dm(other)), expected, "{who} {other}");
    }
}

#[test]
fn adding_is_refused_in_the_order_of_the_table() {
    table(&[
        ("no such room", House::empty, "ada", |h| h.add(&["bob"]), Some(R::NotAMember)),
        ("not a member", House::dm, "eve", |h| h.add(&["who"]), Some(R::NotAMember)),
        ("an admin who is no member", hall, "root", |h| h.add(&["dan"]), Some(R::NotAMember)),
        ("not a channel", House::dm, "ada", |h| h.add(&["robot", "who"]), Some(R::NotAChannel)),
        ("archived", archived, "ada", |h| h.add(&["robot", "who"]), Some(R::Archived)),
        ("nobody named", hall, "ada", |h| h.add(&[]), Some(R::NobodyNamed)),
        ("a bot", hall, "ada", |h| h.add(&["who", "robot"]), Some(R::BotNotAllowed)),
        ("a bot asked for", hall, "ada", |h| bots_too(h, &["robot"]), None),
        ("unknown", foreign, "ada", |h| h.add(&["who"]), Some(R::UnknownAccount)),
        ("foreign channel", foreign, "ada", |h| h.add(&["dan"]), Some(R::NotAMember)),
        ("full, and too many", full, "ada", |h| h.add(&["dan", "eve", "bob"]), Some(R::RoomFull)),
        ("too many", full, "ada", |h| h.add(&["ada", "bob", "cyd"]), Some(R::TooMany)),
        ("full, but nobody new", full, "ada", |h| h.add(&["bob", "cyd"]), None),
        ("disabled", hall, "ada", |h| h.add(&["dan", "gone"]), Some(R::AccountDisabled)),
        ("a member adds", hall, "bob", |h| h.add(&["dan"]), None),
    ]);
}

#[test]
fn removing_is_refused_in_the_order_of_the_table() {
    table(&[
        ("no such room", House::empty, "ada", |h| h.remove(&["bob"]), Some(R::NotAMember)),
        ("not a channel", House::dm, "eve", |h| h.remove(&["eve"]), Some(R::NotAChannel)),
        ("nobody named", hall, "bob", |h| h.remove(&[]), Some(R::NobodyNamed)),
        ("too many", full, "bob", |h| h.remove(&["dan", "dan", "eve"]), Some(R::TooMany)),
        ("not an owner", hall, "bob", |h| h.remove(&["dan"]), Some(R::NotOwner)),
        ("not an owner, oneself among others", hall, "bob", |h| h.remove(&["bob", "cyd"]), Some(R::NotOwner)),
        ("a stranger", hall, "eve", |h| h.remove(&["bob"]), Some(R::NotAMember)),
        ("a stranger leaves", hall, "eve", |h| h.remove(&["eve"]), Some(R::NotAMember)),
        ("target not a member", hall, "ada", |h| h.remove(&["ada", "dan"]), Some(R::TargetNotAMember)),
        ("last owner", hall, "ada", |h| h.remove(&["ada"]), Some(R::LastOwner)),
        ("last owner, by an admin", hall, "root", |h| h.remove(&["ada"]), Some(R::LastOwner)),
        ("everybody at once", hall, "ada", |h| h.remove(&["ada", "bob", "cyd"]), None),
        ("by an admin", hall, "root", |h| h.remove(&["bob"]), None),
        ("leaving", hall, "bob", |h| h.remove(&["bob", "bob"]), None),
        ("from an archived channel", archived, "ada", |h| h.remove(&["bob"]), None),
    ]);
}

#[test]
fn giving_a_role_is_refused_in_the_order_of_the_table() {
    fn with_robot() -> House {
        let mut house = hall();
        let add = bots_too(&house, &["robot"]);
        house.ask("ada", add).expect("added");
        house
    }
    table(&[
        ("not a channel", House::dm, "eve", |h| h.role("ada", Role::Owner), Some(R::NotAChannel)),
        ("a stranger", hall, "eve", |h| h.role("dan", Role::Owner), Some(R::NotAMember)),
        ("not an owner", hall, "bob", |h| h.role("dan", Role::Owner), Some(R::NotOwner)),
        ("target not a member", hall, "ada", |h| h.role("dan", Role::Member), Some(R::TargetNotAMember)),
        ("already an owner", hall, "ada", |h| h.role("ada", Role::Owner), Some(R::AlreadyThatRole)),
        ("already a member", hall, "ada", |h| h.role("bob", Role::Member), Some(R::AlreadyThatRole)),
        ("a bot", with_robot, "ada", |h| h.role("robot", Role::Owner), Some(R::BotNotAllowed)),
        ("last owner", hall, "ada", |h| h.role("ada", Role::Member), Some(R::LastOwner)),
        ("by an admin", hall, "root", |h| h.role("bob", Role::Owner), None),
    ]);
}

#[test]
fn name_end_and_key_are_for_owners_and_administrators() {
    let rotate: fn(&House) -> Command = |h| Command::Rotate { room: h.room() };
    table(&[
        ("rename: not a channel", House::dm, "eve", |h| h.rename(""), Some(R::NotAChannel)),
        ("rename: not an owner", hall, "bob", |h| h.rename(""), Some(R::NotOwner)),
        ("rename: a stranger", hall, "eve", |h| h.rename(""), Some(R::NotAMember)),
        ("rename: unknown", hall, "who", |h| h.rename(""), Some(R::UnknownAccount)),
        ("rename: blank", hall, "ada", |h| h.rename(" \t"), Some(R::InvalidName)),
        ("rename: control character", hall, "ada", |h| h.rename("a\nb"), Some(R::InvalidName)),
        ("rename: archived", archived, "ada", |h| h.rename("x"), Some(R::Archived)),
        ("rename: an admin", hall, "root", |h| h.rename("x"), None),
        ("archive: not a channel", House::dm, "ada", House::archive, Some(R::NotAChannel)),
        ("archive: not an owner", hall, "bob", House::archive, Some(R::NotOwner)),
        ("archive: again", archived, "ada", House::archive, Some(R::Archived)),
        ("rotate: not an owner", hall, "bob", rotate, Some(R::NotOwner)),
        ("rotate: a stranger", hall, "eve", rotate, Some(R::NotAMember)),
        ("rotate: no such room, even for an admin", House::empty, "root", rotate, Some(R::NotAMember)),
        ("rotate: an owner", hall, "ada", rotate, None),
        ("rotate: an admin", hall, "root", rotate, None),
        ("rotate: either of two", House::dm, "bob", rotate, None),
        ("rotate: an admin, in a room of two", House::dm, "root", rotate, None),
        ("rotate: a stranger to a room of two", House::dm, "eve", rotate, Some(R::NotAMember)),
    ]);
}

#[test]
fn submitting_is_refused_in_the_order_of_the_table() {
    fn large() -> House {
        let mut house = hall();
        house.limits.large_room = 3;
        house
    }
    fn shut_out() -> House {
        let mut house = hall();
        house.people.insert(id("bob"), Profile { disabled: true, ..profile("bob") });
        house
    }
    fn said() -> House {
        let mut house = hall();
        house.said("ada", 1);
        house
    }
    let most = Limits::default().message_bytes as usize;
    assert_eq!(most, 20 * 1024);
    table(&[
        ("no such room", House::empty, "ada", |h| h.say(1, text("")), Some(R::NotAMember)),
        ("not a member", archived, "eve", |h| h.say(1, text("")), Some(R::NotAMember)),
        ("an admin who is no member", hall, "root", |h| h.say(1, text("x")), Some(R::NotAMember)),
        ("archived", archived, "ada", |h| h.say(1, text("")), Some(R::Archived)),
        ("disabled", shut_out, "bob", |h| h.say(1, text("")), Some(R::AccountDisabled)),
        ("empty", large, "bob", |h| h.say(1, text(" \n")), Some(R::Empty)),
        ("too large", large, "bob", |h| h.say(1, text(&"x".repeat(20 * 1024 + 1))), Some(R::TooLarge)),
        ("20 KiB", hall, "bob", |h| h.say(1, text(&"x".repeat(20 * 1024))), None),
        ("large room", large, "bob", |h| h.say(1, text("x")), Some(R::RestrictedToOwners)),
        ("large room, owner", large, "ada", |h| h.say(1, text("x")), None),
        ("other content", said, "ada", |h| h.say(1, text("other")), Some(R::MessageReused)),
        ("another sender", said, "bob", |h| h.say(1, text("other")), None),
    ]);
}

#[test]
fn edits_and_deletions_are_refused_in_the_order_of_the_table() {
    fn said() -> House {
        let mut house = hall();
        assert_eq!(house.said("bob", 1), Revision(6));
        house
    }
    fn deleted() -> House {
        let mut house = said();
        let delete = house.delete(Revision(6));
        house.ask("bob", delete).expect("deleted");
        house
    }
    table(&[
        ("edit: not a member", said, "eve", |h| h.edit(Revision(6), 1, text("")), Some(R::NotAMember)),
        ("edit: beyond the head", said, "bob", |h| h.edit(Revision(7), 1, text("")), Some(R::NoSuchMessage)),
        ("edit: zero", said, "bob", |h| h.edit(Revision::ZERO, 1, text("")), Some(R::NoSuchMessage)),
        ("edit: a system message", said, "ada", |h| h.edit(Revision(4), 1, text("")), Some(R::NoSuchMessage)),
        ("edit: another's", said, "ada", |h| h.edit(Revision(6), 1, text("")), Some(R::NotSender)),
        ("edit: deleted, another's", deleted, "ada", |h| h.edit(Revision(6), 1, text("")), Some(R::NotSender)),
        ("edit: deleted", deleted, "bob", |h| h.edit(Revision(6), 1, text("")), Some(R::NoSuchMessage)),
        ("edit: empty", said, "bob", |h| h.edit(Revision(6), 2, text("")), Some(R::Empty)),
        ("edit: skipped number", said, "bob", |h| h.edit(Revision(6), 2, text("x")), Some(R::StaleEdit)),
        ("edit: number of the message", said, "bob", |h| h.edit(Revision(6), 0, text("x")), Some(R::StaleEdit)),
        ("edit", said, "bob", |h| h.edit(Revision(6), 1, text("x")), None),
        ("delete: not a member", said, "eve", |h| h.delete(Revision(6)), Some(R::NotAMember)),
        ("delete: a system message", said, "ada", |h| h.delete(Revision(4)), Some(R::NoSuchMessage)),
        ("delete: another's", said, "cyd", |h| h.delete(Revision(6)), Some(R::NotSender)),
        ("delete: by an owner", said, "ada", |h| h.delete(Revision(6)), None),
        ("delete: by an admin", said, "root", |h| h.delete(Revision(6)), None),
        ("delete: again", deleted, "ada", |h| h.delete(Revision(6)), None),
    ]);
}

#[test]
fn shutting_out_is_for_administrators() {
    let shut_out: fn(&House) -> Command = |_| Command::DisableAccount { account: id("bob") };
    table(&[
        ("a member", hall, "ada", shut_out, Some(R::NotAdmin)),
        ("unknown", hall, "who", shut_out, Some(R::UnknownAccount)),
        ("an admin", hall, "root", shut_out, None),
    ]);
}

#[test]
fn every_reason_has_words_and_a_class() {
    for reason in R::ALL {
        assert!(reason.describe().trim().ends_with('.'), "{reason:?}");
        assert_eq!(Refused::from(*reason).code(), reason.code());
    }
}
