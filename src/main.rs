//! The Chamberlain server and its command line. All of it is in the library, so that tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    chamberlain::cli::main()
}
