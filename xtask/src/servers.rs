//! The servers that the tests of the stores run: nats-server and Valkey, obtained from Debian and unpacked beside the build.
//!
//! apt fetches the packages with lists of its own and checks them as it always does: the archive's signature, and the
//! checksum of each package. Nothing is installed: no root is needed, and nothing outside the target folder changes. Versions
//! are pinned to the upstream release; the distribution's own revisions of it may follow. Programs end in
//! `tools/servers` of the target folder, under the names below. Without apt, one on the path is used, if it is new enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::run::{Workspace, capture, run};
use crate::tools;

/// Where packages come from, and the key that their lists are signed with.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A server, and where it comes from.
#[derive(Debug)]
pub(crate) struct Server {
    /// What the tests find its path in.
    pub(crate) variable: &'static str,
    /// Its program's name in `tools/servers`.
    name: &'static str,
    /// Where it can be had, in order of preference.
    sources: &'static [Source],
    /// Programs of the path that will do, and the least version of each.
    others: &'static [(&'static str, [u64; 3])],
}

/// A release of Debian that has it.
#[derive(Debug)]
struct Source {
    suites: &'static str,
    /// As `apt-get download` takes them; the first is the server's.
    packages: &'static [&'static str],
    /// The program's path in what the packages hold.
    program: &'static str,
    /// What it must say its version is.
    version: [u64; 3],
}

/// The nats-server of production. Debian 13's runs on Debian 12 too: it needs the C library alone.
pub(crate) const NATS: Server = Server {
    variable: "CHAMBERLAIN_NATS_SERVER",
    name: "nats-server",
    sources: &[Source {
        suites: "trixie",
        packages: &["nats-server=2.10.27-*"],
        program: "usr/sbin/nats-server",
        version: [2, 10, 27],
    }],
    others: &[("nats-server", [2, 10, 19])],
};

/// Debian 12's nats-server: older than production asks for, and to be met where an operator insists.
pub(crate) const OLD_NATS: Server = Server {
    variable: "CHAMBERLAIN_NATS_SERVER_2_9",
    name: "nats-server-2.9",
    sources: &[Source {
        suites: "bookworm",
        packages: &["nats-server=2.9.10-*"],
        program: "usr/sbin/nats-server",
        version: [2, 9, 10],
    }],
    others: &[],
};

/// Valkey, or Redis 7 where there is none.
pub(crate) const VALKEY: Server = Server {
    variable: "CHAMBERLAIN_VALKEY_SERVER",
    name: "valkey-server",
    sources: &[
        Source {
            suites: "bookworm bookworm-backports",
            packages: &[
                "valkey-server=8.0.*",
                "valkey-tools=8.0.*",
                "libatomic1",
                "libjemalloc2",
                "liblzf1",
                "libssl3",
            ],
            program: "usr/bin/valkey-server",
            version: [8, 0, 1],
        },
        Source {
            suites: "bookworm",
            packages: &[
                "redis-server=5:7.0.15-*",
                "redis-tools=5:7.0.15-*",
                "libatomic1",
                "libjemalloc2",
                "liblua5.1-0",
                "liblzf1",
                "lua-bitop",
                "lua-cjson",
            ],
            program: "usr/bin/redis-server",
            version: [7, 0, 15],
        },
    ],
    others: &[("valkey-server", [8, 0, 0]), ("redis-server", [7, 0, 0])],
};

impl Server {
    /// The path of its program, where it is named by the environment or was obtained before.
    pub(crate) fn find(&self, workspace: &Workspace) -> Result<Option<PathBuf>> {
        if let Some(named) = std::env::var_os(self.variable) {
            let named = PathBuf::from(named);
            // A path that somebody set and that is not there is a mistake to tell of, not to work around.
            ensure!(named.is_file(), "{} is set to {}, which is no file", self.variable, named.display());
            return Ok(Some(named));
        }
        let own = folder(workspace).join(self.name);
        let pinned = |said| self.sources.iter().any(|source| source.version == said);
        Ok(version(&own).is_some_and(pinned).then_some(own))
    }

    /// One of the path that will do.
    pub(crate) fn on_path(&self) -> Option<PathBuf> {
        let found = self.others.iter().filter_map(|(name, least)| Some((tools::on_path(name)?, least)));
        found.into_iter().find(|(path, least)| version(path).is_some_and(|said| said >= **least)).map(|(path, _)| path)
    }

    /// Fetches and unpacks it.
    pub(crate) fn obtain(&self, workspace: &Workspace) -> Result<()> {
        for tool in ["apt-get", "dpkg"] {
            ensure!(tools::on_path(tool).is_some(), "there is no {tool} here");
        }
        ensure!(Path::new(KEYRING).is_file(), "there is no {KEYRING} to check packages with (debian-archive-keyring)");
        let mut failed = Vec::new();
        for source in self.sources {
            match self.unpack(workspace, source) {
                Ok(()) => return Ok(()),
                Err(why) => failed.push(format!("{}: {why:#}", source.packages[0])),
            }
        }
        bail!("{}", failed.join("; "))
    }

    fn unpack(&self, workspace: &Workspace, source: &Source) -> Result<()> {
        let fetched = folder(workspace).join(format!("{}.fetched", self.name));
        let unpacked = folder(workspace).join(format!("{}.unpacked", self.name));
        for folder in [&fetched, &unpacked] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
            }
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let configuration = configure_apt(&fetched, source.suites)?;
        let apt = |args: &[&str]| {
            let mut command = Command::new("apt-get");
            command.current_dir(&fetched).env("APT_CONFIG", &configuration).arg("-q").args(args);
            run(&mut command)
        };
        apt(&["update"])?;
        apt(&[&["download"], source.packages].concat())?;
        for entry in std::fs::read_dir(&fetched).context("listing packages")? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg").arg("--extract").arg(&package).arg(&unpacked))?;
            }
        }
        std::fs::remove_dir_all(&fetched).context("removing what was fetched")?;
        self.put(workspace, &unpacked, source)
    }

    /// Puts a program of its name in place that runs what was unpacked, with the libraries unpacked beside it.
    fn put(&self, workspace: &Workspace, unpacked: &Path, source: &Source) -> Result<()> {
        let program = unpacked.join(source.program);
        ensure!(program.is_file(), "the package holds no {}", source.program);
        let libraries: Vec<String> = std::fs::read_dir(unpacked.join("usr/lib"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && path.display().to_string().contains("-linux-"))
            .map(|path| path.display().to_string())
            .collect();
        let place = folder(workspace).join(self.name);
        let script =
            format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", libraries.join(":"), program.display());
        // Written beside and moved, so that a program that is there is whole.
        let draft = folder(workspace).join(format!("{}.new", self.name));
        std::fs::write(&draft, script).with_context(|| format!("writing {}", draft.display()))?;
        run(Command::new("chmod").arg("+x").arg(&draft))?;
        std::fs::rename(&draft, &place).with_context(|| format!("writing {}", place.display()))?;
        match version(&place) {
            Some(said) if said == source.version => Ok(()),
            said => bail!("{} should be version {:?} and says {said:?}", place.display(), source.version),
        }
    }
}

/// Where obtained servers are.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools/servers")
}

/// Writes a configuration under which apt keeps lists, caches and state below `at`, and knows one archive.
fn configure_apt(at: &Path, suites: &str) -> Result<PathBuf> {
    for folder in ["state", "lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(at.join(folder)).with_context(|| format!("making {folder}"))?;
    }
    let sources = format!("Types: deb\nURIs: {ARCHIVE}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n");
    std::fs::write(at.join("archive.sources"), sources).context("writing apt's sources")?;
    let below = |name: &str| at.join(name).display().to_string();
    let settings = [
        ("Dir::State", below("state")),
        ("Dir::State::lists", below("lists")),
        // Nothing is installed here, as far as apt is to know.
        ("Dir::State::status", "/dev/null".into()),
        ("Dir::Cache", below("cache")),
        ("Dir::Etc::sourcelist", below("archive.sources")),
        ("Dir::Etc::sourceparts", "-".into()),
        ("Acquire::Languages", "none".into()),
        ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
        // As root, apt fetches as a user who may not write here.
        ("APT::Sandbox::User", "root".into()),
    ];
    let lines: Vec<String> = settings.iter().map(|(key, value)| format!("{key} \"{value}\";\n")).collect();
    let path = at.join("apt.conf");
    std::fs::write(&path, lines.concat()).context("writing apt's configuration")?;
    Ok(path)
}

/// The version that a program says it is; none when it does not run.
fn version(program: &Path) -> Option<[u64; 3]> {
    if !program.is_file() {
        return None;
    }
    capture(Command::new(program).arg("--version")).ok().and_then(|said| numbers(&said))
}

/// The first three numbers with dots between them: `nats-server: v2.10.27`, `Valkey server v=8.0.1 sha=...`.
fn numbers(said: &str) -> Option<[u64; 3]> {
    said.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let parts: Vec<u64> = word.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        parts.try_into().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_out_of_what_programs_say() {
        assert_eq!(numbers("nats-server: v2.10.27\n"), Some([2, 10, 27]));
        assert_eq!(numbers("Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"), Some([8, 0, 1]));
        assert_eq!(numbers("no version"), None);
    }

    #[test]
    fn each_source_is_pinned_and_none_of_the_path_is_older_than_asked_for() {
        for server in [NATS, OLD_NATS, VALKEY] {
            assert!(server.sources.iter().all(|source| source.packages[0].contains('=')), "{}", server.name);
        }
        assert_eq!(NATS.others, [("nats-server", [2, 10, 19])]);
    }
}
