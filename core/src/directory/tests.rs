//! What is decided and folded, and that both come to what was given last.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::id::Revision;
use crate::log::Digest;

/// Bytes of a record, as large as need be.
const ROOMY: usize = 1024 * 1024;

fn account(name: &str) -> Account {
    Account::new(name.parse().expect("valid"), "home".parse().expect("valid"), name.into())
}

fn map(accounts: &[Account]) -> BTreeMap<AccountId, Account> {
    by_id(accounts).expect("one home each")
}

/// Decides and folds, as one writer alone does; how many records it took.
fn put(folding: &mut Folding, given: &[Account], max_bytes: usize) -> Result<usize, OtherHome> {
    let mut entries = decide(&folding.accounts, &by_id(given)?)?;
    let mut records = 0;
    while let Some((record, after)) = next_record(folding.head, Timestamp(7), &mut entries, max_bytes) {
        assert!(record.encode().bytes.len() <= max_bytes);
        folding.apply(&record).expect("it follows");
        assert_eq!(folding.head, after);
        records += 1;
    }
    assert!(entries.is_empty(), "not even one fits");
    Ok(records)
}

#[test]
fn the_same_accounts_given_again_change_nothing() {
    let mut folding = Folding::default();
    let given = [account("ada"), account("bob")];
    assert_eq!(put(&mut folding, &given, ROOMY), Ok(1));
    assert_eq!(put(&mut folding, &given, ROOMY), Ok(0));
    assert_eq!(folding.accounts, map(&given));
}

#[test]
fn only_what_differs_is_recorded() {
    let before = account("ada");
    let group = |name: &str| Some(Group { id: name.into(), name: name.into() });
    let id = || "ada".parse::<AccountId>().expect("valid");
    let cases: Vec<(Account, DirectoryChange)> = alloc::vec![
        (Account { disabled: true, ..before.clone() }, DirectoryChange::Disabled { account: id() }),
        (Account { bot: true, ..before.clone() }, DirectoryChange::BotSet { account: id(), bot: true }),
        (Account { admin: true, ..before.clone() }, DirectoryChange::AdminSet { account: id(), admin: true }),
        (
            Account { local_name: Some("艾达".into()), ..before.clone() },
            DirectoryChange::Named { account: id(), name: "ada".into(), local_name: Some("艾达".into()) },
        ),
        (
            Account { department: group("d"), ..before.clone() },
            DirectoryChange::Grouped { account: id(), section: None, department: group("d") },
        ),
    ];
    for (given, change) in cases {
        let entries = decide(&map(core::slice::from_ref(&before)), &map(&[given])).expect("the same home");
        let events: Vec<_> = entries.iter().flat_map(|entry| &entry.events).map(|logged| &logged.event).collect();
        assert_eq!(events, [&change]);
    }
    let shut_out = map(&[Account { disabled: true, ..before.clone() }]);
    let entries = decide(&shut_out, &map(&[before])).expect("the same home");
    assert_eq!(entries[0].events[0].event, DirectoryChange::Enabled { account: id() });
}

#[test]
fn another_home_site_refuses_everything() {
    let mut folding = Folding::default();
    put(&mut folding, &[account("ada")], ROOMY).expect("put");
    let away = Account { site: "away".parse().expect("valid"), ..account("ada") };
    let refused = put(&mut folding, &[account("bob"), away.clone()], ROOMY).expect_err("refused");
    assert_eq!(refused.to_string(), "the home site of ada is home and cannot become away");
    assert_eq!(folding.accounts, map(&[account("ada")]));
    let twice = [Account { account: "cyd".parse().expect("valid"), ..away }, account("cyd")];
    assert!(by_id(&twice).is_err());
}

#[test]
fn a_record_holds_as_much_as_fits_and_what_never_fits_is_no_record() {
    let mut folding = Folding::default();
    let many: Vec<Account> = (0..200).map(|nth| account(&format!("account-{nth:03}"))).collect();
    let records = put(&mut folding, &many, 2_000).expect("put");
    assert!((5..40).contains(&records), "{records}");
    assert_eq!(folding.accounts, map(&many));
    let long = Account { name: "x".repeat(3_000), ..account("long") };
    let mut entries = decide(&folding.accounts, &map(&[long])).expect("decided");
    assert!(next_record(folding.head, Timestamp(0), &mut entries, 2_000).is_none());
    assert_eq!(entries.len(), 1);
}

#[test]
fn what_does_not_follow_is_told() {
    let mut folding = Folding::default();
    put(&mut folding, &[account("ada")], ROOMY).expect("put");
    let record = |changes: Vec<DirectoryChange>, first: u64| {
        let entries = alloc::vec![entry("ada".parse().expect("valid"), changes)];
        folding.clone().apply(&Record { first: Revision(first), time: Timestamp(1), entries })
    };
    let bob: AccountId = "bob".parse().expect("valid");
    assert_eq!(
        record(alloc::vec![added(&account("ada"))], 2),
        Err(Contradiction::There("ada".parse().expect("valid")))
    );
    let disabled = DirectoryChange::Disabled { account: bob.clone() };
    assert_eq!(record(alloc::vec![disabled.clone()], 2), Err(Contradiction::NotThere(bob)));
    assert_eq!(record(alloc::vec![disabled], 3), Err(Contradiction::DoesNotFollow));
    assert_eq!(record(alloc::vec![DirectoryChange::Opened], 2), Ok(()));
}

#[test]
fn a_stand_is_read_back_and_nothing_else_is() {
    let head = Head { revision: Revision(9), digest: Digest([0xa7; 32]) };
    for whole in [true, false] {
        let stand = Stand { head, time: Timestamp(1_700_000_000_000), whole };
        assert_eq!(stand.to_string().parse(), Ok(stand));
    }
    let golden = format!("whole 9 5 {}", "a7".repeat(32));
    assert_eq!(Stand { head, time: Timestamp(5), whole: true }.to_string(), golden);
    for bad in ["", "whole", "whole 9 5 a7", "all 9 5 a7", "whole x 5 a7"].map(String::from) {
        assert!(bad.parse::<Stand>().is_err(), "{bad}");
    }
    assert!(format!("{golden} more").parse::<Stand>().is_err());
    assert!(format!("whole 9 5 {}", "é".repeat(32)).parse::<Stand>().is_err());
}

#[test]
fn tables_go_on_only_from_where_the_log_was() {
    let at = |revision, digest| Head { revision: Revision(revision), digest: Digest([digest; 32]) };
    let stand = |head, whole| Some(Stand { head, time: Timestamp(0), whole });
    for (tables, log, course) in [
        (None, at(3, 3), Course::Anew),
        (None, Head::EMPTY, Course::Anew),
        (stand(at(3, 3), true), at(3, 3), Course::There),
        (stand(at(3, 3), false), at(3, 3), Course::On),
        (stand(at(2, 2), true), at(3, 3), Course::On),
        (stand(at(3, 9), true), at(3, 3), Course::Anew),
        (stand(at(4, 4), true), at(3, 3), Course::Lost),
        (stand(at(4, 4), false), Head::EMPTY, Course::Lost),
    ] {
        assert_eq!(Stand::course(tables, log), course, "{tables:?} {log:?}");
    }
    let whole = Stand { head: at(3, 3), time: Timestamp(0), whole: true };
    assert!(whole.covers(at(3, 3)) && whole.covers(at(2, 9)) && !whole.covers(at(3, 4)) && !whole.covers(at(4, 4)));
    assert!(!Stand { whole: false, ..whole }.covers(at(2, 2)));
}

fn accounts() -> impl Strategy<Value = Vec<Account>> {
    let one = ("[a-d]", "[xy]{0,2}", proptest::option::of("[xy]"), any::<[bool; 4]>());
    let one = one.prop_map(|(id, name, local_name, [bot, disabled, admin, grouped])| Account {
        name,
        local_name,
        bot,
        disabled,
        admin,
        section: grouped.then(|| Group { id: "s".into(), name: "S".into() }),
        ..account(&id)
    });
    proptest::collection::vec(one, 0..6)
}

proptest! {
    /// Whatever is put in whatever pieces, the directory has the last entry of each account, and a fold from the beginning, or
    /// from any place on with the rows of there, comes to the same.
    #[test]
    fn what_was_put_last_is_what_is_there(puts in proptest::collection::vec(accounts(), 0..8), cut in 0_usize..8, small: bool) {
        let max_bytes = if small { 120 } else { ROOMY };
        let mut wanted = BTreeMap::new();
        let mut log = Vec::new();
        let (mut writer, mut reader) = (Folding::default(), None);
        for (nth, given) in puts.iter().enumerate() {
            if nth == cut {
                reader = Some(writer.clone());
            }
            wanted.extend(map(given));
            let mut entries = decide(&writer.accounts, &map(given)).expect("one home");
            while let Some((record, _)) = next_record(writer.head, Timestamp(1), &mut entries, max_bytes) {
                writer.apply(&record).expect("it follows");
                log.push(record);
            }
            prop_assert!(entries.is_empty());
            prop_assert_eq!(&writer.accounts, &wanted);
        }
        let mut all = Folding::default();
        let mut rest = reader.unwrap_or_default();
        for record in &log {
            let record = Record::decode(&record.encode().bytes).expect("readable");
            all.apply(&record).expect("it follows");
            if record.first > rest.head.revision {
                rest.apply(&record).expect("it follows");
            }
        }
        prop_assert_eq!(&all, &writer);
        prop_assert_eq!(&rest, &writer);
    }
}
