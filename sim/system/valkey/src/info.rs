//! What `INFO` tells: of the real server's lines those that say something about this one.

use std::fmt::Write as _;

use tokio::time::Instant;

use crate::process::Machine;
use crate::settings::{REDIS_VERSION, VERSION};

/// The sections asked for, or all of them.
pub(crate) fn tell(machine: &Machine, asked: &[String]) -> String {
    let everything = asked.is_empty() || asked.iter().any(|name| ["all", "default", "everything"].contains(&&**name));
    let mut text = String::new();
    for (name, lines) in sections(machine) {
        if !everything && !asked.contains(&name.to_ascii_lowercase()) {
            continue;
        }
        let before = if text.is_empty() { "" } else { "\r\n" };
        // Writing to a string does not fail.
        let _written = write!(text, "{before}# {name}\r\n");
        for (name, value) in lines {
            let _written = write!(text, "{name}:{value}\r\n");
        }
    }
    text
}

type Section = (&'static str, Vec<(&'static str, String)>);

fn sections(machine: &Machine) -> Vec<Section> {
    let Some(process) = &machine.process else { return Vec::new() };
    let flag = |is: bool| u8::from(is).to_string();
    let settings = &process.settings;
    let up = Instant::now().saturating_duration_since(process.started).as_secs();
    let status = if process.last_write_failed() { "err" } else { "ok" };
    let role = if machine.is_replica { "slave" } else { "master" };
    let memory = process.bytes().to_string();
    vec![
        (
            "Server",
            vec![
                ("redis_version", REDIS_VERSION.to_owned()),
                ("server_name", "valkey".to_owned()),
                ("valkey_version", VERSION.to_owned()),
                ("server_mode", "standalone".to_owned()),
                ("run_id", process.run_id.clone()),
                ("uptime_in_seconds", up.to_string()),
            ],
        ),
        (
            "Clients",
            vec![("connected_clients", process.clients.to_string()), ("maxclients", settings.maxclients.to_string())],
        ),
        (
            "Memory",
            vec![
                ("used_memory", memory),
                ("number_of_cached_scripts", process.scripts.len().to_string()),
                ("maxmemory", settings.maxmemory.to_string()),
                ("maxmemory_policy", settings.maxmemory_policy.clone()),
            ],
        ),
        (
            "Persistence",
            vec![
                ("loading", flag(process.is_loading())),
                ("async_loading", flag(false)),
                ("aof_enabled", flag(settings.appendonly)),
                ("aof_rewrite_in_progress", flag(false)),
                ("aof_last_bgrewrite_status", "ok".to_owned()),
                ("aof_last_write_status", status.to_owned()),
                ("aof_current_size", machine.disk.bytes().to_string()),
            ],
        ),
        (
            "Stats",
            vec![
                ("total_connections_received", process.connections.to_string()),
                ("total_commands_processed", process.commands.to_string()),
            ],
        ),
        (
            "Replication",
            vec![("role", role.to_owned()), ("connected_slaves", machine.settings.replicas.count.to_string())],
        ),
        ("Cluster", vec![("cluster_enabled", flag(false))]),
        ("Keyspace", Vec::new()),
    ]
}
