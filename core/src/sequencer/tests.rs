//! Behaviours of the sequencer.
