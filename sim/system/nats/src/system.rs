//! What the server says of itself to whoever is of the system account.

use serde_json::json;

use crate::clock::rfc3339;
use crate::config::Syncing;
use crate::hub::Hub;
use crate::wire::Publish;

/// What every server with JetStream answers.
const JETSTREAM: &str = "$SYS.REQ.SERVER.PING.JSZ";

/// What the server says it has room for, in bytes.
const ROOM: u64 = 1 << 30;

impl Hub {
    /// Answers a question about the server; says whether it is one that is answered.
    pub(crate) fn ask_system(&mut self, account: usize, request: &Publish) -> bool {
        if !self.accounts[account].system || request.subject != JETSTREAM {
            return false;
        }
        let Some(reply) = &request.reply else { return true };
        let (interval, always) = match self.config.syncing {
            Syncing::Always => (Syncing::LAZY, true),
            lazy @ Syncing::Every(_) => (lazy, false),
        };
        let Syncing::Every(interval) = interval else { return true };
        let mut config = json!({
            "max_memory": ROOM, "max_storage": ROOM, "store_dir": "simulated",
            "sync_interval": u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
        });
        if always {
            config["sync_always"] = true.into();
        }
        let now = rfc3339(self.config.clock.now());
        let with_streams = self.accounts.iter().filter(|account| !account.streams.is_empty()).count();
        let streams: usize = self.accounts.iter().map(|account| account.streams.len()).sum();
        let answer = json!({
            "server": {
                "name": self.config.name, "host": "simulated", "id": self.id, "ver": self.config.version,
                "jetstream": true, "flags": 3, "seq": 0, "time": now,
            },
            "data": {
                "server_id": self.id, "now": now, "config": config, "memory": 0, "storage": 0, "reserved_memory": 0,
                "reserved_storage": 0, "accounts": with_streams, "ha_assets": 0,
                "api": { "total": 0, "errors": 0 }, "streams": streams, "messages": self.disk.messages(),
            },
        });
        let answer = answer.to_string();
        self.deliver(account, reply, reply, None, None, answer.as_bytes(), None);
        true
    }
}
