//! What members say.

use alloc::vec::Vec;

use super::{Case, Decided, Decision, Draft, DraftBody, Need, Stop, Target};
use crate::id::{AccountId, KeyVersion, MessageId, Revision};
use crate::keys::{BodyKind, Claim, Envelope, Opener};
use crate::room::command::{Content, Submit};
use crate::room::content::MessageContent;
use crate::room::event::{Event, Role};
use crate::room::refused::{Reason, Refused};

/// What is sealed around the text: `{"text":""}`, and the tag.
const AROUND_TEXT: usize = 11 + 16;

impl Case<'_> {
    pub(super) fn submit(&self, submit: &Submit, opener: Option<&mut Opener>) -> Decided {
        let member = self.membership()?;
        self.not_archived()?;
        let requester = self.requester()?;
        let crowded = self.state.member_count() >= self.limits.large_room;
        self.well_sized(&submit.content)?;
        if crowded && member.role != Role::Owner && !requester.bot && !requester.admin {
            return Err(Reason::RestrictedToOwners.into());
        }
        let version = self.current()?;
        let body = self.body(&submit.content, version, &self.request.account, submit.message, 0, opener)?;
        if let Some(sent) = self.requests.sent(&self.request.account, submit.message) {
            return if sent.fingerprint == self.request.fingerprint {
                Ok(Decision::Answered(sent.outcome))
            } else {
                Err(Reason::MessageReused.into())
            };
        }
        let ordinal = self.state.messages() + 1;
        let event = Event::Message { message: submit.message, kind: BodyKind::Message, version, ordinal };
        self.with_rotation_when_due(Draft { event, body })
    }

    pub(super) fn edit(
        &self,
        revision: Revision,
        edit: u32,
        content: &Content,
        target: Option<&Target>,
        opener: Option<&mut Opener>,
    ) -> Decided {
        self.membership()?;
        self.not_archived()?;
        self.requester()?;
        let (sender, message) = self.target(revision, target)?;
        if *sender != self.request.account {
            return Err(Reason::NotSender.into());
        }
        if self.state.is_erased(revision) {
            return Err(Reason::NoSuchMessage.into());
        }
        self.well_sized(content)?;
        let edits = self.state.edits(revision).len() as u32;
        if edits >= self.limits.edits_per_message {
            let message = alloc::format!("the message was edited {edits} times, which is the limit");
            return Err(Refused::new(Reason::TooMany, message).into());
        }
        if edit != edits + 1 {
            return Err(Refused::new(Reason::StaleEdit, alloc::format!("edit: the next edit is {}", edits + 1)).into());
        }
        let version = self.current()?;
        let body = self.body(content, version, sender, message, edit, opener)?;
        self.with_rotation_when_due(Draft { event: Event::Edited { revision, edit, version }, body })
    }

    pub(super) fn delete(&self, revision: Revision, target: Option<&Target>) -> Decided {
        let member = self.state.member(&self.request.account);
        let administers = self.state.kind().is_some() && self.profile(&self.request.account).is_some_and(|p| p.admin);
        if member.is_none() && !administers {
            return Err(Reason::NotAMember.into());
        }
        self.requester()?;
        let (sender, _) = self.target(revision, target)?;
        let owns = member.is_some_and(|member| member.role == Role::Owner);
        if *sender != self.request.account && !owns && !administers {
            return Err(Reason::NotSender.into());
        }
        let event = if self.state.is_erased(revision) { Event::Unchanged } else { Event::Deleted { revision } };
        Ok(Decision::Record(alloc::vec![event.into()]))
    }

    fn target<'t>(&self, revision: Revision, target: Option<&'t Target>) -> Result<(&'t AccountId, MessageId), Stop> {
        if revision == Revision::ZERO || revision > self.state.head().revision {
            return Err(Reason::NoSuchMessage.into());
        }
        let target = target.filter(|target| target.revision == revision).ok_or(Stop::Needs(Need::Target(revision)))?;
        let (sender, message) = target.message.as_ref().ok_or(Reason::NoSuchMessage)?;
        Ok((sender, *message))
    }

    fn well_sized(&self, content: &Content) -> Result<(), Stop> {
        let most = self.limits.message_bytes as usize;
        let bytes = match content {
            Content::Plain { text } if text.trim().is_empty() => return Err(Reason::Empty.into()),
            Content::Plain { text } => text.len(),
            Content::Sealed(envelope) => envelope.ciphertext.len().saturating_sub(AROUND_TEXT),
        };
        if bytes > most {
            let message = alloc::format!("content: {bytes} bytes, the limit is {most}");
            return Err(Refused::new(Reason::TooLarge, message).into());
        }
        Ok(())
    }

    /// The body to record: to be sealed, or sealed already, opened, and found to be what it claims.
    fn body(
        &self,
        content: &Content,
        version: KeyVersion,
        sender: &AccountId,
        message: MessageId,
        edit: u32,
        opener: Option<&mut Opener>,
    ) -> Result<DraftBody, Stop> {
        match content {
            Content::Plain { text } => Ok(DraftBody::Seal {
                kind: BodyKind::Message,
                message,
                sender: sender.clone(),
                edit,
                plaintext: MessageContent::bytes_of(text),
            }),
            Content::Sealed(envelope) => {
                let claim = Claim { room: self.request.room, version, kind: BodyKind::Message, sender, message, edit };
                self.believe(&claim, envelope, opener)?;
                Ok(DraftBody::Sealed(envelope.clone()))
            }
        }
    }

    fn believe(&self, claim: &Claim<'_>, envelope: &Envelope, opener: Option<&mut Opener>) -> Result<(), Stop> {
        if envelope.version != claim.version {
            let message = alloc::format!("sealed under version {}, current is {}", envelope.version, claim.version);
            let mut refused = Refused::new(Reason::StaleKey, message);
            refused.current = self.state.current_key();
            return Err(refused.into());
        }
        let opener = opener.filter(|opener| opener.version() == claim.version);
        let opener = opener.ok_or(Stop::Needs(Need::Secret(claim.version)))?;
        let plaintext = opener.open(claim, envelope).map_err(|_| Reason::BadEnvelope)?;
        let content = MessageContent::parse(&plaintext)
            .ok_or_else(|| Refused::new(Reason::BadEnvelope, "content: what is sealed is not {\"text\": ...}"))?;
        if content.text.trim().is_empty() { Err(Reason::Empty.into()) } else { Ok(()) }
    }

    /// A version serves so many messages; the one that reaches the limit brings the next.
    fn with_rotation_when_due(&self, draft: Draft) -> Decided {
        let mut drafts: Vec<Draft> = alloc::vec![draft];
        if self.state.messages_under_current() + 1 >= self.limits.messages_per_key {
            drafts.push(self.rotation()?.into());
        }
        Ok(Decision::Record(drafts))
    }
}
