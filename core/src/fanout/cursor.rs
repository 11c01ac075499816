//! A socket's position in one room.
//!
//! Claims the revisions after `delivered` up to the head, one claim at a time, and moves `delivered` only over what the
//! transport took. Everything a socket is sent of a room goes through here, so nothing can overtake anything else, and
//! nothing can be skipped or repeated: `delivered <= claim.through <= head`, whatever the order of the calls.

use crate::id::Revision;

/// Where a socket is in one room's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    delivered: Revision,
    claim: Option<Claim>,
    head: Revision,
}

/// The most that one claim may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Revisions.
    pub items: u32,
}

/// Revisions `(after, through]`, taken to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The last revision that was delivered.
    pub after: Revision,
    /// The last revision claimed.
    pub through: Revision,
}

impl Cursor {
    /// A cursor that has delivered everything up to `after`, and knows of nothing later.
    pub fn new(after: Revision) -> Self {
        Self { delivered: after, claim: None, head: after }
    }

    /// The log goes up to `head`. Never moves back: what is known to be there is there.
    pub fn moved(&mut self, head: Revision) {
        self.head = self.head.max(head);
    }

    /// Takes the next revisions to send: at most `budget.items`, or `None` while a claim is out or nothing is new.
    pub fn claim(&mut self, budget: Budget) -> Option<Claim> {
        if self.claim.is_some() || self.head <= self.delivered {
            return None;
        }
        let through = self.head.min(self.delivered.plus(budget.items.max(1).into()));
        let claim = Claim { after: self.delivered, through };
        self.claim = Some(claim);
        Some(claim)
    }

    /// The claim that is out.
    pub fn claimed(&self) -> Option<Claim> {
        self.claim
    }

    /// The transport took everything up to `through`, which lies within the claim; the rest of the claim stays out.
    pub fn emitted(&mut self, through: Revision) {
        let Some(claim) = self.claim else {
            debug_assert!(false, "{through} was emitted without a claim");
            return;
        };
        debug_assert!(claim.after <= through && through <= claim.through, "{through} lies outside of {claim:?}");
        let through = through.clamp(claim.after, claim.through);
        self.delivered = through;
        self.claim = (through < claim.through).then_some(Claim { after: through, through: claim.through });
    }

    /// Nothing more of the claim will be sent: what was not emitted becomes claimable again.
    pub fn abandon(&mut self) {
        self.claim = None;
    }

    /// The last revision that the transport took.
    pub fn delivered(&self) -> Revision {
        self.delivered
    }

    /// The last revision that is known to be there.
    pub fn head(&self) -> Revision {
        self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const BUDGET: Budget = Budget { items: 4 };

    #[test]
    fn only_one_claim_is_out() {
        let mut cursor = Cursor::new(Revision(2));
        assert_eq!(cursor.claim(BUDGET), None);
        cursor.moved(Revision(9));
        assert_eq!(cursor.claim(BUDGET), Some(Claim { after: Revision(2), through: Revision(6) }));
        assert_eq!(cursor.claim(BUDGET), None);
        cursor.emitted(Revision(4));
        assert_eq!(cursor.claim(BUDGET), None, "half of the claim is still out");
        cursor.emitted(Revision(6));
        assert_eq!(cursor.claim(BUDGET), Some(Claim { after: Revision(6), through: Revision(9) }));
    }

    #[test]
    fn what_failed_half_way_is_claimed_again_from_there() {
        let mut cursor = Cursor::new(Revision::ZERO);
        cursor.moved(Revision(3));
        cursor.claim(BUDGET);
        cursor.emitted(Revision(1));
        cursor.abandon();
        assert_eq!(cursor.delivered(), Revision(1));
        assert_eq!(cursor.claim(BUDGET), Some(Claim { after: Revision(1), through: Revision(3) }));
    }

    #[test]
    fn a_late_word_of_an_older_head_changes_nothing() {
        let mut cursor = Cursor::new(Revision(5));
        cursor.moved(Revision(8));
        cursor.moved(Revision(6));
        assert_eq!(cursor.head(), Revision(8));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Moved(u64),
        Claim(u32),
        /// Emits that many revisions of the claim.
        Emit(u64),
        Abandon,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (0..6_u64).prop_map(Act::Moved),
            (0..7_u32).prop_map(Act::Claim),
            (0..7_u64).prop_map(Act::Emit),
            Just(Act::Abandon),
        ];
        proptest::collection::vec(act, 0..80)
    }

    proptest! {
        /// S1: what is emitted is consecutive, each revision once, and everything known can be emitted in the end.
        #[test]
        fn emissions_cover_every_revision_once(start in 0..5_u64, acts in acts()) {
            let mut cursor = Cursor::new(Revision(start));
            let (mut emitted, mut head) = (start, start);
            for act in acts {
                match act {
                    Act::Moved(by) => {
                        head += by;
                        cursor.moved(Revision(head));
                    }
                    Act::Claim(items) => {
                        let out = cursor.claimed();
                        if let Some(claim) = cursor.claim(Budget { items }) {
                            prop_assert_eq!(out, None);
                            prop_assert_eq!(claim.after, Revision(emitted));
                            prop_assert!(claim.through > claim.after && claim.through <= Revision(head));
                            prop_assert!(claim.through.since(claim.after) <= u64::from(items.max(1)));
                        }
                    }
                    Act::Emit(count) => if let Some(claim) = cursor.claimed() {
                        emitted = (emitted + count).min(claim.through.0);
                        cursor.emitted(Revision(emitted));
                    },
                    Act::Abandon => cursor.abandon(),
                }
                prop_assert_eq!(cursor.delivered(), Revision(emitted));
                prop_assert!(cursor.delivered() <= cursor.head());
            }
            cursor.abandon();
            while let Some(claim) = cursor.claim(BUDGET) {
                cursor.emitted(claim.through);
            }
            prop_assert_eq!(cursor.delivered(), Revision(head));
        }
    }
}
