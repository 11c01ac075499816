//! Oracles: one per invariant of DESIGN.md, each written from the document and not from the code. An oracle reads a
//! [`Story`] and objects, or not.
//!
//! What a story says is decoded once, into a [`Reading`]: of every log its revisions in a row, of every connection what was
//! asked and what came. Deliveries are judged by the logs as they are in the end (records never change), answers by what the
//! logs held between question and answer. Nothing that a machine believes of itself is asked for.

mod answered;
mod chain;
mod covered;
mod effects;
mod entitled;
mod fair;
mod keys;
mod links;
mod live;
mod model;
mod reading;
mod refused;
mod resumed;
mod rooms;
mod told;

use crate::story::Story;
pub use reading::Reading;

/// What an oracle objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The oracle's short name: `S1`, `K2`. What a shrunk tape keeps.
    pub oracle: &'static str,
    /// The invariant in words.
    pub invariant: &'static str,
    /// What breaks it, in words, with the revisions, accounts and times it is about.
    pub what: String,
    /// Index into [`Story::seen`] of the moment at which it is broken, where there is one.
    pub at: Option<usize>,
}

/// An invariant, and who looks after it.
#[derive(Clone, Copy)]
pub struct Oracle {
    /// Its short name, as in DESIGN.md where it has one there.
    pub name: &'static str,
    /// The invariant in words.
    pub invariant: &'static str,
    /// Says what breaks it.
    judge: fn(&Reading<'_>, &mut Findings),
}

/// What an oracle found: in words, and the moment.
pub type Findings = Vec<(String, Option<usize>)>;

/// Objections of one oracle to one story; what one fault breaks over and over need not be read a hundred times.
const MOST: usize = 20;

/// All of them.
pub const ORACLES: &[Oracle] = &[
    oracle("K1", "no connection receives a ciphertext before the key for it", keys::before_ciphertext),
    oracle("K2", "nothing ordered after a removal opens with a key the removed member was given", keys::removed),
    oracle("K3", "one room and version, one byte string, everywhere", keys::one_secret),
    oracle("K4", "the account learns of the room before its key", told::before_key),
    oracle("S1", "each opening covers consecutive revisions, each exactly once", covered::consecutive),
    oracle("S2", "an answer never overtakes a revision before it, and says whose it is", answered::in_order),
    oracle("S3", "resuming loses and repeats nothing, or says plainly that the log is another one", resumed::resumed),
    oracle("S4", "a slow connection costs a bounded amount of memory", live::bounded),
    oracle("L1", "what was acknowledged is durable, there once, and answered the same again", answered::durable),
    oracle("M1", "what an account is told of its rooms is what its log says, in order", told::account_events),
    oracle("M2", "counts equal the members, and members are as the rules make them", model::members),
    oracle("M3", "a channel has an owner", model::owners),
    oracle("M4", "rooms of accounts and accounts of rooms agree", told::agree),
    oracle("X1", "an accepted operation has all its effects in the end", effects::complete),
    oracle("X2", "no durable effect takes place twice", effects::once),
    oracle("X3", "a reported result is true", refused::true_results),
    oracle("D1", "delivered only to the entitled, and as it was recorded", entitled::delivered),
    oracle("V1", "once faults stop, everyone is answered and caught up within the bound", live::caught_up),
    oracle("fair", "a busy room keeps no other room of a connection waiting", fair::fair),
    oracle("B1", "nothing is quarantined or breaks while the stores keep their promises", live::whole),
    oracle("N-13", "times of records never fall", chain::times),
    oracle("chain", "records follow one another, and what landed stays", chain::follows),
    oracle("fold", "a snapshot is the fold of what was there", chain::snapshots),
];

const fn oracle(name: &'static str, invariant: &'static str, judge: fn(&Reading<'_>, &mut Findings)) -> Oracle {
    Oracle { name, invariant, judge }
}

/// What every oracle objects to, oracle by oracle.
pub fn judge(story: &Story) -> Vec<Objection> {
    let reading = Reading::of(story);
    ORACLES.iter().flat_map(|oracle| oracle.objections(&reading)).collect()
}

impl Oracle {
    /// What it objects to.
    pub fn objections(&self, reading: &Reading<'_>) -> Vec<Objection> {
        let mut findings = Findings::new();
        (self.judge)(reading, &mut findings);
        let (oracle, invariant) = (self.name, self.invariant);
        findings.into_iter().take(MOST).map(|(what, at)| Objection { oracle, invariant, what, at }).collect()
    }
}
