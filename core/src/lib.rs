//! The machines of Chamberlain, without input or output.
//!
//! Everything that decides anything is here: what a command does to a room, which key version is current, what is appended
//! next, what each socket is sent next. Nothing here waits, sends, reads a clock or draws a random number; the compiler
//! proves it (`no_std`, `forbid(unsafe_code)`). The same code runs over a real network, over an embedded store, and over
//! a simulated network and clock.
//!
//! A machine has this shape:
//!
//! ```text
//! fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>);
//! fn next_deadline(&self) -> Option<Instant>;
//! ```
//!
//! One call changes its state, and all effects of that change are in `out` when it returns. An effect that completes later
//! carries an id, and its completion comes back as an input. A value inside a machine has plain methods.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod account;
pub mod codec;
pub mod directory;
pub mod fanout;
pub mod fleet;
pub mod id;
pub mod keys;
pub mod limits;
pub mod log;
pub mod retry;
pub mod room;
pub mod sequencer;
pub mod site;
pub mod time;
pub mod wire;
