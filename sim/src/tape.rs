//! The entropy tape: every decision of a run, under a label of its own.
//!
//! A decision is drawn by *label* (who decides what kind of thing) and ordinal (for the how-manieth time), so that changing or
//! deleting one decision does not shift the others. A run is a pure function of the code and its tape. The source of a tape
//! is a seed, a recorded file, or the bytes of a fuzzer; what was drawn is recorded whatever the source, and a recorded tape
//! answers 0 where it says nothing. By convention 0 is the quiet choice: no fault, no delay, nothing to do, the first in line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Whose decision, and of what kind: `("client/3", "step")`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Who decides: `world`, `client/3`, `node/0`, `link/12`.
    pub actor: Actor,
    /// What kind of thing, a short name without spaces.
    pub kind: &'static str,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// The role: `world`, `client`, `node`.
    pub role: &'static str,
    /// Which of them.
    pub number: u32,
}

/// A decision that was drawn: who, what kind, the how-manieth.
pub type Place = (String, u32, String, u32);

/// Where decisions come from.
#[derive(Debug, Clone)]
enum Source {
    Seed(u64),
    Recorded(BTreeMap<Place, u64>),
    /// What a seed decides, or quiet where there is none, moved by the bytes that follow it.
    Bytes {
        seed: Option<u64>,
        bytes: Vec<u8>,
        at: usize,
    },
}

/// The decisions of one run.
#[derive(Debug, Clone)]
pub struct Tape {
    source: Source,
    ordinals: BTreeMap<Label, u32>,
    drawn: Vec<(Label, u32, u64)>,
    keeps: bool,
}

impl Actor {
    /// The one actor of its role.
    pub const fn only(role: &'static str) -> Self {
        Self { role, number: 0 }
    }

    /// One of many.
    pub const fn nth(role: &'static str, number: u32) -> Self {
        Self { role, number }
    }
}

impl Tape {
    /// Decisions from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self::of(Source::Seed(seed))
    }

    /// Decisions from the bytes of a fuzzer. The first eight are a seed, so that a few bytes are a whole story; those that follow
    /// are added to its decisions in the order of their drawing, so that a byte more or less is a story close by. Fewer than
    /// eight bytes, or eight zeros, are the quiet story.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let (seed, moves) = match bytes.split_first_chunk::<8>() {
            Some((seed, moves)) => (u64::from_be_bytes(*seed), moves),
            None => (0, &[][..]),
        };
        Self::of(Source::Bytes { seed: Some(seed).filter(|seed| *seed != 0), bytes: moves.to_vec(), at: 0 })
    }

    /// Recorded decisions; 0 where nothing is recorded.
    pub fn recorded(decisions: impl IntoIterator<Item = (Place, u64)>) -> Self {
        Self::of(Source::Recorded(decisions.into_iter().collect()))
    }

    fn of(source: Source) -> Self {
        Self { source, ordinals: BTreeMap::new(), drawn: Vec::new(), keeps: false }
    }

    /// Keeps what is drawn, for [`Tape::decisions`]. Off at first: most runs are forgotten.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// The next decision of this label: a number below `below`. Nothing is decided, and nothing counted, where there is only
    /// one choice.
    pub fn draw(&mut self, actor: Actor, kind: &'static str, below: u64) -> u64 {
        if below <= 1 {
            return 0;
        }
        let label = Label { actor, kind };
        let ordinal = {
            let next = self.ordinals.entry(label.clone()).or_insert(0);
            let ordinal = *next;
            *next += 1;
            ordinal
        };
        let value = match &mut self.source {
            Source::Seed(seed) => scatter(*seed, actor, kind, ordinal) % below,
            Source::Recorded(recorded) => {
                let place = (actor.role.to_owned(), actor.number, kind.to_owned(), ordinal);
                recorded.get(&place).copied().unwrap_or(0) % below
            }
            Source::Bytes { seed, bytes, at } => {
                let decided = seed.map_or(0, |seed| scatter(seed, actor, kind, ordinal) % below);
                // As few bytes as the choice needs, so that every byte of the fuzzer matters.
                let mut moved = 0_u64;
                let mut most = below - 1;
                while most > 0 {
                    moved = moved << 8 | u64::from(bytes.get(*at).copied().unwrap_or(0));
                    *at += 1;
                    most >>= 8;
                }
                decided.wrapping_add(moved) % below
            }
        };
        if self.keeps && value != 0 {
            self.drawn.push((label, ordinal, value));
        }
        value
    }

    /// Whether something happens that does so `percent` times of a hundred. The quiet choice is that it does not.
    pub fn chance(&mut self, actor: Actor, kind: &'static str, percent: u32) -> bool {
        percent > 0 && self.draw(actor, kind, 100) >= u64::from(100 - percent.min(100))
    }

    /// One of several; the first is the quiet choice.
    pub fn pick<'a, T>(&mut self, actor: Actor, kind: &'static str, choices: &'a [T]) -> &'a T {
        &choices[self.draw(actor, kind, choices.len() as u64) as usize]
    }

    /// A seed for a generator: for what a run needs many random bits of, and no shrinking (keys, nonces).
    pub fn seed(&mut self, actor: Actor, kind: &'static str) -> u64 {
        self.draw(actor, kind, u64::MAX)
    }

    /// What was drawn and is not 0, in the order of its drawing; only of a tape that keeps it.
    pub fn decisions(&self) -> impl Iterator<Item = (Place, u64)> + '_ {
        self.drawn.iter().map(|(label, ordinal, value)| {
            ((label.actor.role.to_owned(), label.actor.number, label.kind.to_owned(), *ordinal), *value)
        })
    }
}

/// Mixes a label into a number that looks random: SplitMix64 over the parts.
fn scatter(seed: u64, actor: Actor, kind: &'static str, ordinal: u32) -> u64 {
    let mut state = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
    for byte in actor.role.bytes().chain([0xff]).chain(kind.bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = mix(state ^ u64::from(actor.number));
    mix(state.wrapping_add(u64::from(ordinal).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A recorded tape as a file: comment lines begin with `#`, `key: value` lines say how to run it, and every other line is a
/// decision: `role number kind ordinal value`. Decisions that are not there are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapeFile {
    /// How to run it: `level`, `scenario`, and what is for people: `oracle`, `story`.
    pub head: BTreeMap<String, String>,
    /// The decisions.
    pub decisions: BTreeMap<Place, u64>,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the tape: {what}")]
pub struct MalformedTape {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl TapeFile {
    /// The tape to run.
    pub fn tape(&self) -> Tape {
        Tape::recorded(self.decisions.clone())
    }
}

impl fmt::Display for TapeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.head {
            writeln!(f, "{key}: {}", value.replace('\n', " "))?;
        }
        for ((role, number, kind, ordinal), value) in &self.decisions {
            writeln!(f, "{role} {number} {kind} {ordinal} {value}")?;
        }
        Ok(())
    }
}

impl FromStr for TapeFile {
    type Err = MalformedTape;

    fn from_str(text: &str) -> Result<Self, MalformedTape> {
        let mut file = Self::default();
        for (at, line) in text.lines().enumerate() {
            let malformed = |what| MalformedTape { line: at + 1, what };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some((key, value)) = line.split_once(": ") {
                file.head.insert(key.to_owned(), value.to_owned());
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [role, number, kind, ordinal, value] = words[..] else {
                return Err(malformed("not five words: role number kind ordinal value"));
            };
            let number = number.parse().map_err(|_| malformed("the number is none"))?;
            let ordinal = ordinal.parse().map_err(|_| malformed("the ordinal is no number"))?;
            let value = value.parse().map_err(|_| malformed("the value is no number"))?;
            file.decisions.insert((role.to_owned(), number, kind.to_owned(), ordinal), value);
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Actor = Actor::nth("client", 1);
    const BOB: Actor = Actor::nth("client", 2);

    #[test]
    fn a_decision_does_not_depend_on_those_of_others() {
        let mut both = Tape::seeded(7);
        let mut alone = Tape::seeded(7);
        let mixed: Vec<u64> = (0..20)
            .map(|_| {
                both.draw(BOB, "step", 1_000);
                both.draw(ADA, "step", 1_000)
            })
            .collect();
        let own: Vec<u64> = (0..20).map(|_| alone.draw(ADA, "step", 1_000)).collect();
        assert_eq!(mixed, own);
    }

    #[test]
    fn what_was_kept_replays_and_survives_its_file() {
        let mut first = Tape::seeded(3).keeping();
        let drawn: Vec<u64> = (0..50).map(|_| first.draw(ADA, "delay", 5)).collect();
        let file = TapeFile { head: BTreeMap::new(), decisions: first.decisions().collect() };
        let read: TapeFile = file.to_string().parse().expect("a tape");
        assert_eq!(read, file);
        let mut again = read.tape();
        assert_eq!((0..50).map(|_| again.draw(ADA, "delay", 5)).collect::<Vec<_>>(), drawn);
    }

    #[test]
    fn a_deleted_decision_is_quiet_and_shifts_nothing() {
        let mut first = Tape::seeded(3).keeping();
        let drawn: Vec<u64> = (0..50).map(|_| first.draw(ADA, "delay", 5)).collect();
        let (gone, _) = first.decisions().nth(4).expect("some are not 0");
        let left = first.decisions().filter(|(place, _)| *place != gone);
        let mut again = Tape::recorded(left);
        let replayed: Vec<u64> = (0..50).map(|_| again.draw(ADA, "delay", 5)).collect();
        let differ: Vec<usize> = (0..50).filter(|nth| drawn[*nth] != replayed[*nth]).collect();
        assert_eq!(differ, [gone.3 as usize]);
        assert_eq!(replayed[gone.3 as usize], 0);
    }

    #[test]
    fn bytes_are_a_seed_and_what_its_decisions_are_moved_by() {
        let drawn = |bytes: &[u8]| {
            let mut tape = Tape::of_bytes(bytes);
            [256, 300, 256].map(|below| tape.draw(ADA, "step", below))
        };
        assert_eq!(drawn(&[200, 1]), [0; 3]);
        assert_eq!(drawn(&[0, 0, 0, 0, 0, 0, 0, 0, 200, 1, 1]), [200, 257, 0]);
        let seeded = drawn(&[0, 0, 0, 0, 0, 0, 0, 7]);
        let mut same = Tape::seeded(7);
        assert_eq!(seeded, [256, 300, 256].map(|below| same.draw(ADA, "step", below)));
        let moved = drawn(&[0, 0, 0, 0, 0, 0, 0, 7, 3]);
        assert_eq!((moved[0], &moved[1..]), ((seeded[0] + 3) % 256, &seeded[1..]));
    }

    #[test]
    fn a_malformed_line_is_named() {
        assert_eq!("# words\nclient 1 step".parse::<TapeFile>().map_err(|error| error.line), Err(2));
    }
}
