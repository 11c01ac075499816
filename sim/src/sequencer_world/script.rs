//! What happens in a world, and what goes wrong in it.

use proptest::prelude::*;
use rand::{Rng, RngExt};

use crate::plan::{self, Plan};

/// A run, from its beginning until faults stop.
#[derive(Debug, Clone)]
pub struct Script {
    /// Of every delay and fault.
    pub seed: u64,
    /// How many sequencers believe that they own the room: 1 or 2.
    pub nodes: u8,
    /// What goes wrong.
    pub faults: Faults,
    /// How the room begins.
    pub begins: Plan,
    /// What is done, each so many milliseconds after the one before.
    pub steps: Vec<(u16, Step)>,
}

/// One thing that is done.
#[derive(Debug, Clone)]
pub enum Step {
    /// Somebody asks a node for something.
    Ask {
        /// Who, and for what.
        plan: Plan,
        /// Which node.
        node: u8,
    },
    /// Somebody asks again, the same under the same id.
    Again {
        /// Which of everything that was asked.
        which: prop::sample::Index,
        /// Which node.
        node: u8,
    },
    /// A node is lost, and back soon.
    Crash {
        /// Which.
        node: u8,
    },
    /// A node's wall clock jumps.
    Jump {
        /// Which node.
        node: u8,
        /// By so much.
        ms: i32,
    },
}

/// How often what goes wrong, in percent of all store operations, and how slow stores are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Fails, and had no effect.
    pub transient: u32,
    /// Not known whether it had an effect; it may, even later.
    pub lost: u32,
    /// The longest delay.
    pub slow_ms: u32,
}

impl Faults {
    /// A delay in microseconds.
    pub fn delay(&self, rng: &mut impl Rng) -> u64 {
        rng.random_range(50..=200 + u64::from(self.slow_ms) * 1_000)
    }
}

/// Scripts of all kinds.
pub fn scripts() -> impl Strategy<Value = Script> {
    let faults = prop_oneof![
        1 => Just(Faults::default()),
        3 => (0..30_u32, 0..30_u32, 0..300_u32)
            .prop_map(|(transient, lost, slow_ms)| Faults { transient, lost, slow_ms }),
        // Long enough for deadlines to pass.
        1 => (20..60_u32, 20..40_u32, 500..3_000_u32)
            .prop_map(|(transient, lost, slow_ms)| Faults { transient, lost, slow_ms }),
    ];
    let step = prop_oneof![
        24 => (plan::plans(), 0..2_u8).prop_map(|(plan, node)| Step::Ask { plan, node }),
        6 => (any::<prop::sample::Index>(), 0..2_u8).prop_map(|(which, node)| Step::Again { which, node }),
        1 => (0..2_u8).prop_map(|node| Step::Crash { node }),
        1 => (0..2_u8, prop_oneof![-100_000..100_000_i32, Just(i32::MAX)])
            .prop_map(|(node, ms)| Step::Jump { node, ms }),
    ];
    let gap = prop_oneof![3 => Just(0_u16), 3 => 0..50_u16, 1 => 0..2_000_u16];
    let steps = proptest::collection::vec((gap, step), 1..60);
    (any::<u64>(), 1..3_u8, faults, plan::beginnings(), steps).prop_map(|(seed, nodes, faults, begins, steps)| Script {
        seed,
        nodes,
        faults,
        begins,
        steps,
    })
}
