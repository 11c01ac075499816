//! Generators and oracles: arbitrary histories of the machines, and what must hold of them.
//!
//! Nothing here knows how a machine works; models and oracles are written from RULES.md and DESIGN.md, and each oracle has
//! a test that feeds it a history it must object to.

pub mod decided_room;
pub mod delivery;
pub mod explain;
pub mod house;
pub mod judge;
pub mod plan;
pub mod room_history;
pub mod room_model;
pub mod room_oracles;
pub mod run;
pub mod sequencer_world;
pub mod shrink;
pub mod story;
pub mod tape;
