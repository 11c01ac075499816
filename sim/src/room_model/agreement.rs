//! Whether a room is what the model says it is.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, KeyVersion};
use chamberlain_core::room::{Outcome, Role, RoomKind, RoomState};

use super::Model;
use crate::plan;

/// Compares everything that the model knows.
///
/// # Errors
/// What differs.
pub fn agree(state: &RoomState, model: &Model) -> Result<(), String> {
    let members: BTreeMap<AccountId, Role> =
        state.members_after(None).map(|(account, member)| (account.clone(), member.role)).collect();
    let expected: BTreeMap<AccountId, Role> =
        model.members.iter().map(|member| (member.account.clone(), member.role)).collect();
    same("members", &members, &expected)?;
    same("count of members (M2)", &(state.member_count() as usize), &model.members.len())?;
    same("count of owners (M2)", &(state.owner_count() as usize), &model.owners())?;
    same("kind", &state.kind(), &model.kind)?;
    same("name", &state.name().map(|name| name.as_str()), &model.name.as_deref())?;
    same("whether it ended", &state.is_archived(), &model.archived)?;
    same("count of messages", &state.messages(), &(model.messages.len() as u64))?;
    let version = state.current_key().map(|key| key.version.0);
    same("version", &version, &model.kind.map(|_| model.version))?;

    let governed = model.kind == Some(RoomKind::Channel) && !model.archived;
    if governed && model.owners() == 0 {
        return Err("a channel without an owner (M3)".into());
    }
    for account in (0..plan::NAMES.len() as u8).map(plan::account) {
        for version in 0..=model.version + 1 {
            let (may, should) = (state.may_hold(&account, KeyVersion(version)), model.may_hold(&account, version));
            same("whether a key may be held", &(&account, version, may), &(&account, version, should))?;
        }
        for said in model.messages.iter() {
            let Some(Outcome::Sent { revision, .. }) = said.outcome else { return Err("not settled".into()) };
            let (may, _) = state.entitlement(&account, revision, state.head().revision);
            let should = said.readers.contains(&account);
            same("whether a message may be read", &(&account, revision, may), &(&account, revision, should))?;
            same("whether a message is deleted", &(revision, state.is_erased(revision)), &(revision, said.deleted))?;
        }
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what} is {is:?}, the model has {should:?}")) }
}
