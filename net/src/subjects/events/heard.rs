//! Which memberships accounts heard of lately.

use std::collections::{BTreeMap, VecDeque};

use chamberlain_core::id::{AccountId, Revision, RoomId};

/// Memberships that are remembered.
const HEARD: usize = 16_384;

/// Memberships that their accounts have heard of, the last ones: of which room, and the room's revision that began them. Who
/// comes again has heard of an earlier one.
#[derive(Default)]
pub(super) struct Heard {
    known: BTreeMap<(RoomId, AccountId), Revision>,
    order: VecDeque<(RoomId, AccountId)>,
}

impl Heard {
    pub(super) fn insert(&mut self, room: RoomId, account: &AccountId, at: Revision) {
        if self.known.insert((room, account.clone()), at).is_none() {
            self.order.push_back((room, account.clone()));
        }
        if self.order.len() > HEARD
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, room: RoomId, account: &AccountId, since: Revision) -> bool {
        self.known.get(&(room, account.clone())).is_some_and(|at| *at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_is_bounded_and_the_oldest_goes_first() {
        let mut heard = Heard::default();
        let account = |nth: usize| format!("a{nth}").parse::<AccountId>().expect("an account");
        let room = RoomId::from_digest(&[1; 32]);
        (0..=HEARD).for_each(|nth| heard.insert(room, &account(nth), Revision(5)));
        heard.insert(room, &account(HEARD), Revision(9));
        assert_eq!((heard.known.len(), heard.order.len()), (HEARD, HEARD));
        assert!(!heard.contains(room, &account(0), Revision(5)) && heard.contains(room, &account(1), Revision(5)));
    }

    #[test]
    fn who_comes_again_has_not_heard_of_it_yet() {
        let mut heard = Heard::default();
        let (room, ada) = (RoomId::from_digest(&[1; 32]), "ada".parse().expect("an account"));
        heard.insert(room, &ada, Revision(5));
        assert!(heard.contains(room, &ada, Revision(5)) && !heard.contains(room, &ada, Revision(9)));
        heard.insert(room, &ada, Revision(9));
        assert!(heard.contains(room, &ada, Revision(9)));
    }
}
