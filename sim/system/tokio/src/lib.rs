//! Stands in for tokio, under its name and version, so that the production code runs unchanged in a simulation.
//!
//! Simulated: the executor, time and randomness (madsim's), sleeping ([`time`]), and TCP ([`net`], ours: windows, partial
//! writes, half-close, reset, silent death, links with latency, bandwidth, loss and cuts). Tokio's own are the channels,
//! locks and `select!`, which know no runtime. Not here: files, processes, UDP, blocking on the current thread. What a
//! simulation does to its network and clocks is in [`sim`].
#![forbid(unsafe_code)]

pub mod net;
pub mod sim;
pub mod time;

pub use madsim_tokio::{io, join, pin, runtime, select, signal, spawn, sync, task_local, try_join};

/// Tasks.
pub mod task {
    pub use madsim_tokio::task::*;

    /// Runs something that blocks, in one piece: nothing else happens meanwhile, and no time passes.
    #[track_caller]
    pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        spawn(async move { work() })
    }
}
