//! `decide` and `apply` agree with the naive model, whatever is asked in whatever order.

use chamberlain_core::id::{AccountId, RequestId, RoomId};
use chamberlain_core::room::Command;
use chamberlain_sim::decided_room::DecidedRoom;
use chamberlain_sim::plan::{self, Plan};
use chamberlain_sim::room_model::{Verdict, agree};
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
            agree(&room.fold.state, &model).map_err(TestCaseError::fail)?;
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
