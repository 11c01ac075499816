//! The client module in Node: its types, its bytes against other implementations, its behaviour against a played server.
//!
//! Needs `node` (20 or later) and `npm`; the first time, also npm's registry. Fails without them, and never skips.

use std::path::Path;
use std::process::{Command, Output};

#[test]
fn the_client_module_passes_its_own_tests() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR"));
    let version = run(web, "node", &["--version"], "Node.js 20 or newer runs the tests of the client module");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_string();
    let major: Option<u32> = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    assert!(
        major.is_some_and(|major| major >= 20),
        "node is {version}; the tests of the client module need 20 or newer"
    );

    // npm writes this file last, so that it is there only after a finished install.
    let installed = web.join("node_modules/.package-lock.json");
    if !installed.is_file() {
        run(web, "npm", &["ci", "--no-audit", "--no-fund"], "npm fetches what the tests of the client module need");
    }
    run(web, "node", &["node_modules/typescript/bin/tsc", "--project", "tsconfig.json"], "the types of the page");
    let mut args = vec!["--test".to_string()];
    for entry in std::fs::read_dir(web.join("test")).expect("the folder of tests is readable") {
        let name = entry.expect("readable").file_name().into_string().expect("a name in Unicode");
        if name.ends_with(".test.js") {
            args.push(format!("test/{name}"));
        }
    }
    assert!(args.len() > 2, "there are tests");
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    run(web, "node", &args, "the tests of the client module");
}

/// Runs a program in `folder`; anything but success ends the test with what the program said.
fn run(folder: &Path, program: &str, args: &[&str], what: &str) -> Output {
    let output = match Command::new(program).args(args).current_dir(folder).output() {
        Ok(output) => output,
        Err(error) => panic!("{program} cannot be run ({error}): {what}. Install it; this test is never skipped"),
    };
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{what}: `{program} {}` ended with {}\n{}{}",
        args.join(" "),
        output.status,
        said(&output.stdout),
        said(&output.stderr),
    );
    output
}
