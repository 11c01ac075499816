//! Single messages of a stream as themselves, with what they are in headers.

use super::streams::GetRequest;
use crate::clock::rfc3339;
use crate::headers;
use crate::hub::Hub;
use crate::wire::Publish;

impl Hub {
    /// `STREAM`, with a question in JSON, or `STREAM.SUBJECT`, whose last message is asked for. Says whether there is such a
    /// stream, and lets itself be asked.
    pub(super) fn direct_get(&mut self, account: usize, rest: &str, request: &Publish) -> bool {
        let (name, subject) = rest.split_once('.').map_or((rest, None), |(name, subject)| (name, Some(subject)));
        let Some(stream) = self.accounts[account].streams.get(name) else { return false };
        if !stream.config.allow_direct {
            return false;
        }
        let Some(reply) = &request.reply else { return true };
        let asked = match subject {
            Some(subject) => Ok(GetRequest {
                seq: 0,
                last_by_subj: subject.to_owned(),
                next_by_subj: String::new(),
                more: Default::default(),
            }),
            None if request.payload.is_empty() => Err("408 Empty Request"),
            None => serde_json::from_slice::<GetRequest>(&request.payload).map_err(|_| "408 Malformed Request"),
        };
        let asked = asked.and_then(|asked| match () {
            () if asked.is_contradictory() => Err("408 Bad Request"),
            () if asked.is_empty() => Err("408 Empty Request"),
            () if !asked.more.is_empty() => Err("408 Not Simulated"),
            () => Ok(asked),
        });
        let files = self.disk.files();
        let file = files.streams.get(&(self.accounts[account].name.clone(), name.to_owned()));
        let found = asked.and_then(|asked| {
            let message = file.and_then(|file| asked.find(&file.store)).ok_or("404 Message Not Found")?;
            let lines = [
                ("Nats-Stream", name.to_owned()),
                ("Nats-Subject", message.subject.clone()),
                ("Nats-Sequence", message.sequence.to_string()),
                ("Nats-Time-Stamp", rfc3339(message.time)),
            ];
            Ok((headers::with(message.headers.as_deref(), &lines), message.payload.clone()))
        });
        drop(files);
        let (block, payload) = found.unwrap_or_else(|words| (headers::status(words, &[]), Default::default()));
        self.deliver(account, reply, reply, None, Some(&block), &payload, None);
        true
    }
}
