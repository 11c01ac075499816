//! Log lines: to stderr, as text or JSON, filtered by module and level.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Writes what passes the filter. Later calls in the same process change nothing.
pub(crate) fn start(filter: Targets, json: bool) {
    let layer = if json {
        fmt::layer().json().with_writer(std::io::stderr).boxed()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        fmt::layer().with_ansi(colours).with_writer(std::io::stderr).boxed()
    };
    // A test that starts two servers in one process has a log already.
    let _already = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// Writes what an operator of one command should know.
pub(crate) fn start_quiet() {
    start(Targets::new().with_default(LevelFilter::WARN), false);
}
