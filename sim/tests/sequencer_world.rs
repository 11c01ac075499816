//! Sequencers in a world where stores fail, answers are lost and nodes die: every oracle holds of all that is seen.

use chamberlain_sim::room_oracles;
use chamberlain_sim::sequencer_world::{World, scripts};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_oracle_holds(script in scripts()) {
        let history = World::run(&script);
        let objections = room_oracles::judge(&history);
        prop_assert!(objections.is_empty(), "{:#?}", objections);
    }
}
