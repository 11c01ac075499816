//! A simulated Valkey: speaks RESP2 and RESP3 to unmodified clients, over real sockets or simulated ones.
//!
//! Of Valkey 8.0.1 there is what `chamberlain_stores::valkey` and the `redis` crate beneath it ask for: strings, hashes, sorted
//! sets of one score, the three scripts of that adapter (known by their SHA-1: there is no Lua here, and any other script is
//! refused), users with passwords and rights, the append-only file with its three ways to sync, `WAIT` and `WAITAOF`, and what
//! a server says while it loads, has no disk, no memory or no right to write. Not here: clusters, transactions,
//! subscriptions, times to live, eviction, replication (replicas are a number and a delay), TLS, RDB files.
//!
//! Plain tokio, and nothing of the process's randomness or of any clock but tokio's: on simulated sockets a run is the same
//! for the same seed. What happens to a server is asked of its [`Server`]: that it starts, ends, stands still, and what its
//! disk forgets meanwhile.
#![forbid(unsafe_code)]

mod commands;
mod data;
mod disk;
mod info;
mod process;
mod resp;
mod rights;
mod scripts;
mod server;
mod settings;

pub use disk::{Disk, Loss};
pub use rights::User;
pub use scripts::{digest, is_known};
pub use server::Server;
pub use settings::{Fsync, Replicas, Settings};
