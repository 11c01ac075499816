//! What the benchmarks measure, each piece of work once: the report (`cargo xtask bench`) and criterion (`cargo bench`) share it.
//!
//! Bars and their reasons: PERFORMANCE.md. The machines are measured without input or output, on data of the size that the
//! bar names; nothing here prints or decides what a figure means.

pub mod cost;
pub mod decide;
pub mod deliver;
pub mod names;
pub mod seal;
