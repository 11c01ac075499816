//! `decide` and `apply` agree with the naive model, whatever is asked in whatever order.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, KeyVersion, RequestId, RoomId};
use chamberlain_core::room::{Command, Outcome, Role, RoomState};
use chamberlain_sim::decided_room::DecidedRoom;
use chamberlain_sim::plan::{self, Plan};
use chamberlain_sim::room_model::{Model, Verdict};
use proptest::prelude::*;

/// A plan under a new request id, or an earlier request again.
#[derive(Debug, Clone)]
enum Step {
    New(Plan),
    Again(prop::sample::Index),
    /// Another plan under an earlier request's id, by the same account.
    Reuse(prop::sample::Index, Plan),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => plan::plans().prop_map(Step::New),
        1 => any::<prop::sample::Index>().prop_map(Step::Again),
        1 => (any::<prop::sample::Index>(), plan::plans()).prop_map(|(at, plan)| Step::Reuse(at, plan)),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The room is what the model says it is.
fn agree(state: &RoomState, model: &Model) {
    let members: BTreeMap<AccountId, Role> =
        state.members_after(None).map(|(account, member)| (account.clone(), member.role)).collect();
    let expected: BTreeMap<AccountId, Role> =
        model.members.iter().map(|member| (member.account.clone(), member.role)).collect();
    assert_eq!(members, expected);
    assert_eq!(state.member_count() as usize, model.members.len(), "M2");
    assert_eq!(state.owner_count() as usize, model.owners(), "M2");
    assert_eq!(state.kind(), model.kind);
    assert_eq!(state.name().map(|name| name.as_str()), model.name.as_deref());
    assert_eq!(state.is_archived(), model.archived);
    assert_eq!(state.messages(), model.messages.len() as u64);
    assert_eq!(state.current_key().map(|key| key.version.0), model.kind.map(|_| model.version));

    let governed = model.kind == Some(chamberlain_core::room::RoomKind::Channel) && !model.archived;
    assert!(!governed || model.owners() > 0, "M3: a channel has an owner");

    for index in 0..plan::NAMES.len() as u8 {
        let account = plan::account(index);
        for version in 0..=model.version + 1 {
            let may = state.may_hold(&account, KeyVersion(version));
            assert_eq!(may, model.may_hold(&account, version), "{account} holds {version}");
        }
        for said in &model.messages {
            let Some(Outcome::Sent { revision, .. }) = said.outcome else { panic!("settled") };
            let (may, _) = state.entitlement(&account, revision, state.head().revision);
            assert_eq!(may, said.readers.contains(&account), "{account} reads {revision}");
            assert_eq!(state.is_erased(revision), said.deleted);
        }
    }
}

proptest! {
    #[test]
    fn a_room_is_what_the_rules_say(begins in plan::beginnings(), steps in steps()) {
        let id = RoomId::from_digest(&[1; 32]);
        let (mut room, mut model) = (DecidedRoom::new(id), plan::model(id));
        let mut asked: Vec<(AccountId, RequestId, Command)> = Vec::new();
        for (n, step) in std::iter::once(Step::New(begins)).chain(steps).enumerate() {
            let fresh = |plan: &Plan| plan.command(id, &room.known(), n as u64);
            let (who, request, command) = match &step {
                Step::New(plan) => (plan.account(), plan::request_id(n as u64), fresh(plan)),
                Step::Again(at) => at.get(&asked).clone(),
                Step::Reuse(at, plan) => {
                    let (who, request, _) = at.get(&asked);
                    (who.clone(), *request, Plan { who: account_index(who), ..plan.clone() }.command(id, &room.known(), n as u64))
                }
            };
            let head = room.head;
            let came = room.ask(&who, request, &command);
            match (model.judge(&who, request, &command), came) {
                (Verdict::Refused(reason), Err(refused)) => {
                    prop_assert_eq!(reason, refused.reason, "{:?}", command);
                    prop_assert_eq!(room.head, head, "a refusal writes nothing");
                }
                (Verdict::Answered(expected), Ok(outcome)) => {
                    prop_assert_eq!(expected, outcome);
                    prop_assert_eq!(room.head, head, "an answer from memory writes nothing");
                }
                (Verdict::Recorded(next), Ok(outcome)) => {
                    prop_assert!(room.head.revision > head.revision);
                    model = *next;
                    model.settle(outcome);
                }
                (verdict, came) => prop_assert!(false, "{:?}: {:?} but {:?}", command, verdict, came),
            }
            agree(&room.fold.state, &model);
            asked.push((who, request, command));
        }
        let snapshot = room.fold.to_snapshot();
        let read = chamberlain_core::room::Fold::from_snapshot(&snapshot).expect("readable");
        prop_assert_eq!(read, room.fold);
    }
}

fn account_index(account: &AccountId) -> u8 {
    plan::NAMES.iter().position(|name| *name == account.as_str()).expect("one of them") as u8
}
