//! What a person says: lines as messages, sealed here, and lines as commands.

use chamberlain_core::id::{MessageId, RequestId, Revision};
use chamberlain_core::keys::{BodyKind, Claim, Sealer};
use chamberlain_core::room::{Command, Content, MessageContent, Submit};
use chamberlain_core::wire::{ClientFrame, Query};

use super::super::shown;
use super::{Request, Talk, Waiting};

impl Talk {
    pub(super) fn say(&mut self, text: String) {
        let message = MessageId::from_digest(&self.random());
        self.seal_and_send(text, message, BodyKind::Message, 0, None);
    }

    pub(super) fn command(&mut self, verb: &str, rest: &str) {
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let at = first.trim_start_matches('#').parse().map(Revision);
        match (verb, self.room) {
            ("quit", _) => {
                self.options.stay = false;
                self.input_ended();
            }
            ("members", Some(room)) => {
                let query = Query::Members { room, after: None, limit: None };
                self.request(|id| ClientFrame::Query { id, query }, Waiting::Members);
            }
            ("delete", Some(room)) if let Ok(revision) = at => {
                self.request(
                    |id| ClientFrame::Command { id, command: Command::Delete { room, revision } },
                    Waiting::Taken,
                );
            }
            ("edit", Some(_))
                if let Ok(revision) = at
                    && !text.trim().is_empty() =>
            {
                match self.seen.iter().find(|seen| seen.revision == revision) {
                    Some(seen) => {
                        let (message, kind, edit) = (seen.message, seen.kind, seen.edits + 1);
                        self.seal_and_send(text.to_owned(), message, kind, edit, Some(revision));
                    }
                    None => self.show(format!("* nothing was said at #{revision}, as far as was seen here")),
                }
            }
            ("help", _) => self.show(shown::HELP.to_owned()),
            _ => self.show(format!("* /{verb} is not understood; /help says what there is")),
        }
    }

    fn seal_and_send(&mut self, text: String, message: MessageId, kind: BodyKind, edit: u32, at: Option<Revision>) {
        let id = RequestId::from_random(self.random());
        let what = Waiting::Said { text: text.clone(), message, kind, edit, at, reseals: 0 };
        if let Some(frame) = self.sealed(id, &text, message, kind, edit, at) {
            self.send(frame.clone());
            self.requests.push(Request { id, frame, what, again: false });
        }
    }

    /// A message or an edit, sealed under the current key.
    pub(super) fn sealed(
        &mut self,
        id: RequestId,
        text: &str,
        message: MessageId,
        kind: BodyKind,
        edit: u32,
        at: Option<Revision>,
    ) -> Option<ClientFrame> {
        let (room, current, site) = (self.room?, self.current?, self.site.clone()?);
        if self.sealer.as_ref().is_none_or(|sealer| sealer.version() != current.version) {
            match Sealer::new(&site, room, current.version, &current.public, &mut self.rng) {
                Ok(sealer) => self.sealer = Some(sealer),
                Err(why) => {
                    self.show(format!("* the room's key makes no sense: {why}"));
                    return None;
                }
            }
        }
        let claim = Claim { room, version: current.version, kind, sender: &self.options.account, message, edit };
        let content = MessageContent { text: text.to_owned() };
        let envelope = match self.sealer.as_mut()?.seal(&claim, &content.to_bytes()) {
            Ok(envelope) => envelope,
            Err(why) => {
                // The next one encapsulates anew.
                self.sealer = None;
                self.show(format!("* not sent: {why}"));
                return None;
            }
        };
        let content = Content::Sealed(envelope);
        let command = match at {
            None => Command::Submit(Submit { room, message, content }),
            Some(revision) => Command::Edit { room, revision, edit, content },
        };
        Some(ClientFrame::Command { id, command })
    }
}
