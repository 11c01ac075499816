//! Rules about crates: which may depend on which, and that the core needs no standard library.
//!
//! No target without a standard library may be installed where the tests run. The compiler proves for core's own code that
//! it uses none (`#![no_std]`), and the features of its dependencies prove it for theirs.

use anyhow::{Context, Result};
use serde_json::Value;

use super::modules::Root;
use super::source::Source;
use super::{Finding, policy, relative};
use crate::run::{Workspace, metadata};

/// One of our crates.
pub(crate) struct Package {
    name: String,
    /// Its Cargo.toml, relative to the root.
    pub(crate) manifest: String,
    dependencies: Vec<String>,
    /// The first files of its targets.
    pub(crate) roots: Vec<Root>,
}

/// Not one of ours in the order of crates: it goes by the name of what it stands in for.
const STAND_IN: &str = "sim/system/tokio/Cargo.toml";

/// Workspaces of their own inside the tree.
const APART: &[&str] = &["fuzz/Cargo.toml", "sim/system/Cargo.toml"];

/// The crates of the tree.
pub(crate) fn packages(workspace: &Workspace) -> Result<Vec<Package>> {
    let mut packages = read_packages(workspace, &workspace.metadata)?;
    // Cargo reads no manifest of sim/system without them.
    crate::sim::derive::derive(workspace)?;
    for manifest in APART {
        let manifest = workspace.root.join(manifest);
        if manifest.is_file() {
            packages.extend(read_packages(workspace, &metadata(&manifest)?)?);
        }
    }
    Ok(packages)
}

fn read_packages(workspace: &Workspace, metadata: &Value) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    packages.iter().map(|package| read_package(workspace, package)).collect()
}

fn read_package(workspace: &Workspace, package: &Value) -> Result<Package> {
    let file = |value: &Value| -> Result<String> {
        let path = value.as_str().context("cargo metadata has a path that is no text")?;
        Ok(relative(&workspace.root, path.as_ref()))
    };
    let list = |key: &str| package[key].as_array().with_context(|| format!("cargo metadata has no {key}"));
    let mut roots = Vec::new();
    for target in list("targets")? {
        roots.push((file(&target["src_path"])?, target["kind"][0] == "test"));
    }
    let names = list("dependencies")?.iter().filter_map(|dependency| dependency["name"].as_str());
    Ok(Package {
        name: package["name"].as_str().context("a package without a name")?.to_string(),
        manifest: file(&package["manifest_path"])?,
        dependencies: names.map(str::to_string).collect(),
        roots,
    })
}

/// No crate depends on one above it.
pub(crate) fn directions(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let apart = |package: &&Package| package.manifest == STAND_IN || APART.contains(&package.manifest.as_str());
    for package in packages.iter().filter(|package| !apart(package)) {
        let Some((_, allowed)) = policy::MAY_DEPEND.iter().find(|(name, _)| *name == package.name) else {
            let why = format!("{} has no place in the order of crates", package.name);
            findings.push(Finding::new(
                &package.manifest,
                1,
                "crate-direction",
                why,
                "give it one in xtask/src/tidy/policy.rs",
            ));
            continue;
        };
        let ours = |name: &str| packages.iter().any(|other| other.name == name && other.manifest != STAND_IN);
        for name in package.dependencies.iter().filter(|name| ours(name) && !allowed.contains(&name.as_str())) {
            let why = format!("{} must not depend on {name}: it may on [{}]", package.name, allowed.join(", "));
            let instead = "move the code to where both may reach it, or the test to tests/";
            findings.push(Finding::new(&package.manifest, 1, "crate-direction", why, instead));
        }
    }
    findings
}

/// The attributes that make the compiler keep core pure.
const CORE_ATTRIBUTES: &[&str] = &["#![no_std]", "#![forbid(unsafe_code)]"];

/// Core is `no_std` without a way around it.
pub(crate) fn core_is_no_std(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let root = "core/src/lib.rs";
    let why = "the compiler then proves that the core has no clock, socket or thread";
    for attribute in CORE_ATTRIBUTES {
        let there = sources.iter().any(|source| source.path == root && source.code.contains(attribute));
        if !there {
            findings.push(Finding::new(root, 1, "core-no-std", why, format!("write {attribute}")));
        }
    }
    for source in sources.iter().filter(|source| source.path.starts_with("core/src/")) {
        for at in source.find("extern crate std") {
            findings.push(Finding::new(&source.path, source.line(at), "core-no-std", why, "put it under #[cfg(test)]"));
        }
    }
    findings
}

/// The dependencies of core whose `std` feature is on, from `cargo tree --edges normal,features`.
pub(crate) fn std_features_of_core(tree: &str) -> Vec<Finding> {
    let mut names: Vec<&str> =
        tree.lines().filter_map(|line| line.split_once(" feature \"std\"")).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let why = |name: &str| format!("core gets {name} with its feature std, and core builds where there is none");
    let instead = "default-features = false, and the features by name; `cargo tree -i` tells who asks for it";
    names.into_iter().map(|name| Finding::new("core/Cargo.toml", 1, "core-std-feature", why(name), instead)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_string(),
            manifest: format!("{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(|name| (*name).to_string()).collect(),
            roots: Vec::new(),
        }
    }

    #[test]
    fn a_dependency_upwards_is_found() {
        let wrong = [package("chamberlain-core", &["chamberlain-net", "serde"]), package("chamberlain-net", &[])];
        let findings = directions(&wrong);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].why.contains("chamberlain-core must not depend on chamberlain-net"));
        let right = [package("chamberlain-core", &["serde"]), package("chamberlain-net", &["chamberlain-core"])];
        assert_eq!(directions(&right), []);
    }

    #[test]
    fn nothing_depends_on_the_tests_and_a_new_crate_needs_a_place() {
        let packages = [package("chamberlain", &["chamberlain-tests"]), package("chamberlain-tests", &[])];
        assert_eq!(directions(&packages).len(), 1);
        assert_eq!(directions(&[package("chamberlain-new", &[])]).len(), 1);
    }

    #[test]
    fn a_core_with_a_standard_library_is_found() {
        let without = [Source::new("core/src/lib.rs", "//! Core.\n#![no_std]\n")];
        assert_eq!(core_is_no_std(&without).len(), 1);
        let attributes = "#![no_std]\n#![forbid(unsafe_code)]\n";
        let way_around = [Source::new("core/src/lib.rs", &format!("{attributes}extern crate std;\n"))];
        assert_eq!(lines(core_is_no_std(&way_around)), [3]);
        let for_tests = [Source::new("core/src/lib.rs", &format!("{attributes}#[cfg(test)]\nextern crate std;\n"))];
        assert_eq!(core_is_no_std(&for_tests), []);
    }

    #[test]
    fn a_dependency_with_std_is_found() {
        let tree = "chamberlain-core v0.1.0\nserde feature \"alloc\"\nbytes feature \"std\"\nbytes v1.12.1\n";
        let findings = std_features_of_core(tree);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].why.contains("bytes"));
    }
}
