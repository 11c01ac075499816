//! What is simulated is what is built: the production crates and all that they depend on have the versions here that they
//! have in the root workspace. Tokio's stand-in goes by tokio's version; what is beneath it is madsim's.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

type Package = (String, String);

/// Every package of a lock file, and what it depends on.
fn packages(lock: &str) -> BTreeMap<Package, Vec<String>> {
    let mut packages = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
            line.unwrap_or_default().to_owned()
        };
        let list = block.split_once("dependencies = [").map_or("", |(_, list)| list);
        let list = list.split(']').next().unwrap_or_default();
        let dependencies =
            list.lines().map(|line| line.trim().trim_matches([',', '"'])).filter(|line| !line.is_empty());
        packages.insert((value("name"), value("version")), dependencies.map(str::to_owned).collect());
    }
    packages
}

#[test]
fn production_crates_have_the_versions_of_the_root_workspace() {
    let here = packages(&std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap());
    let root = packages(&std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../Cargo.lock")).unwrap());
    let ours = ["chamberlain-core", "chamberlain-net", "chamberlain-stores", "chamberlain-sim"];
    let mut reached: BTreeSet<Package> = BTreeSet::new();
    let mut next: Vec<Package> = here.keys().filter(|(name, _)| ours.contains(&name.as_str())).cloned().collect();
    while let Some(package) = next.pop() {
        if !reached.insert(package.clone()) || package.0 == "tokio" {
            continue;
        }
        for dependency in &here[&package] {
            let mut words = dependency.split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next());
            next.extend(here.keys().filter(|(n, v)| n == name && version.is_none_or(|version| version == v)).cloned());
        }
    }
    assert!(reached.len() > 80, "{} packages were found", reached.len());
    // What the root does not have at all, a feature brings that madsim asks for.
    let names: BTreeSet<&String> = root.keys().map(|(name, _)| name).collect();
    let differs = |package: &&Package| names.contains(&package.0) && !root.contains_key(*package);
    let differ: Vec<&Package> = reached.iter().filter(differs).collect();
    assert!(differ.is_empty(), "not in the root lock file in these versions: {differ:?}");
}
