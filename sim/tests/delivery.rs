//! Sockets under arbitrary schedules: every frame they hand over is judged, and once faults stop, everybody is caught up.

use chamberlain_sim::delivery::{Act, World, acts, settings};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

fn run(world: &mut World, acts: &[Act]) -> Result<(), TestCaseError> {
    for act in acts {
        world.act(act).map_err(|objection| TestCaseError::fail(format!("{act:?}: {objection}")))?;
    }
    world.settle().map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_socket_is_sent_what_is_for_it_once_and_in_order(setting in settings(), acts in acts(160)) {
        let mut world = World::new(setting);
        run(&mut world, &acts)?;
    }
}
