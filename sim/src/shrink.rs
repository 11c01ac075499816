//! Delta debugging over a tape: the fewest and smallest decisions after which a run still fails in the same way.
//!
//! Since a decision has a label of its own ([`crate::tape`]), deleting it makes that one choice the quiet one and shifts no
//! other. Tries whole ends, roles, kinds and actors, then halves of what is left in the order of its drawing down to single
//! decisions, and that again until nothing more can go; then smaller values. Whether a run fails, and when to give up, is the
//! caller's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::tape::Place;

/// Decisions in the order in which a run drew them.
pub type Drawn = Vec<(Place, u64)>;

/// How far a shrinking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Runs so far.
    pub runs: u64,
    /// Decisions left.
    pub left: usize,
    /// What is being tried.
    pub trying: &'static str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// What is left.
    pub decisions: Drawn,
    /// Runs that it took.
    pub runs: u64,
    /// Whether nothing more can be taken away; else the budget ended.
    pub smallest: bool,
}

/// Makes `decisions` small.
///
/// `fails` runs a tape of them and gives what the run drew when it fails in the same way, `None` when it does not. `goes_on`
/// hears of every run and ends the shrinking by `false`.
pub fn shrink(
    decisions: Drawn,
    fails: impl FnMut(&BTreeMap<Place, u64>) -> Option<Drawn>,
    goes_on: impl FnMut(&Progress) -> bool,
) -> Shrunk {
    let mut search = Search { best: decisions, fails, goes_on, tried: BTreeSet::new(), runs: 0, ended: false };
    loop {
        let before = search.best.len();
        search.ends();
        search.groups("all of a role", |place| (place.0.clone(), 0, String::new(), 0));
        search.groups("all of a kind", |place| (place.0.clone(), 0, place.2.clone(), 0));
        search.groups("all of an actor", |place| (place.0.clone(), place.1, String::new(), 0));
        search.groups("a kind of one actor", |place| (place.0.clone(), place.1, place.2.clone(), 0));
        search.halves();
        if search.best.len() < before && !search.ended {
            continue;
        }
        // Nothing more can be taken away; what a smaller value changes may let more go.
        let before = search.best.clone();
        search.values();
        if search.ended || search.best == before {
            break;
        }
    }
    Shrunk { decisions: search.best, runs: search.runs, smallest: !search.ended }
}

/// A search under way.
struct Search<F, G> {
    best: Drawn,
    fails: F,
    goes_on: G,
    /// Hashes of what was tried in vain.
    tried: BTreeSet<u64>,
    runs: u64,
    ended: bool,
}

impl<F, G> Search<F, G>
where
    F: FnMut(&BTreeMap<Place, u64>) -> Option<Drawn>,
    G: FnMut(&Progress) -> bool,
{
    /// Runs these decisions, and keeps what was drawn of them when it still fails.
    fn keeps(&mut self, trying: &'static str, decisions: impl Iterator<Item = (Place, u64)>) -> bool {
        if self.ended {
            return false;
        }
        let decisions: BTreeMap<Place, u64> = decisions.collect();
        let mut hasher = DefaultHasher::new();
        decisions.hash(&mut hasher);
        if !self.tried.insert(hasher.finish()) {
            return false;
        }
        self.runs += 1;
        let found = (self.fails)(&decisions).filter(|drawn| weight(drawn) < weight(&self.best));
        let kept = found.is_some();
        if let Some(drawn) = found {
            self.best = drawn;
        }
        self.ended = !(self.goes_on)(&Progress { runs: self.runs, left: self.best.len(), trying });
        kept
    }

    /// Keeps everything but the decisions at these places of the order.
    fn without(&mut self, trying: &'static str, gone: impl Fn(usize, &Place) -> bool) -> bool {
        let before = self.best.clone();
        let left = before.into_iter().enumerate().filter(|(at, (place, _))| !gone(*at, place)).map(|(_, kept)| kept);
        self.keeps(trying, left)
    }

    /// Cuts the end off: half of what is left, then smaller pieces.
    fn ends(&mut self) {
        let mut piece = self.best.len();
        while piece > 0 && !self.ended {
            let from = self.best.len().saturating_sub(piece);
            if self.best.is_empty() || !self.without("the end", |at, _| at >= from) {
                piece /= 2;
            }
        }
    }

    /// Takes whole groups away, the largest first.
    fn groups(&mut self, trying: &'static str, group: impl Fn(&Place) -> Place) {
        let mut sizes: BTreeMap<Place, usize> = BTreeMap::new();
        for (place, _) in &self.best {
            *sizes.entry(group(place)).or_default() += 1;
        }
        let mut groups: Vec<(usize, Place)> = sizes.into_iter().map(|(group, size)| (size, group)).collect();
        groups.sort_by(|a, b| b.cmp(a));
        for (_, gone) in groups {
            self.without(trying, |_, place| group(place) == gone);
        }
    }

    /// Takes pieces away in the order of drawing, the late ones first: halves, quarters, down to one decision.
    fn halves(&mut self) {
        let mut piece = self.best.len().div_ceil(2);
        while piece > 0 && !self.ended {
            let mut end = self.best.len();
            while end > 0 {
                let begin = end.saturating_sub(piece);
                self.without("pieces in time", |at, _| (begin..end).contains(&at));
                end = begin.min(self.best.len());
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2).min(self.best.len().max(1)) };
        }
    }

    /// Makes the values of what is left smaller: 1 when that does, else by halving the way to it.
    fn values(&mut self) {
        let places: Vec<Place> = self.best.iter().map(|(place, _)| place.clone()).collect();
        for place in places {
            let Some(value) = self.value(&place) else { continue };
            if value <= 1 || self.lowers(&place, 1) {
                continue;
            }
            // Between a value that did not do and one that does. Of a large one only the magnitude is looked for: it was
            // drawn from so many that it tells a reader nothing.
            let (mut low, mut high) = (1, value);
            while high - low > (high >> 16) + 1 && !self.ended {
                let middle =
                    if high / 4 > low { ((high as f64) * (low as f64)).sqrt() as u64 } else { low + (high - low) / 2 };
                let middle = middle.clamp(low + 1, high - 1);
                if self.lowers(&place, middle) { high = middle } else { low = middle }
            }
        }
    }

    fn value(&self, place: &Place) -> Option<u64> {
        self.best.iter().find(|(there, _)| there == place).map(|(_, value)| *value)
    }

    fn lowers(&mut self, place: &Place, to: u64) -> bool {
        let before = self.best.clone();
        let lowered =
            before.into_iter().map(|(there, value)| if there == *place { (there, to) } else { (there, value) });
        self.keeps("smaller values", lowered)
    }
}

/// What makes one tape smaller than another: fewer decisions, then smaller values.
fn weight(drawn: &Drawn) -> (usize, u128) {
    (drawn.len(), drawn.iter().map(|(_, value)| u128::from(*value)).sum())
}
