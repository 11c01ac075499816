//! The words of system messages: RULES.md, "System messages".

use alloc::string::String;
use alloc::vec::Vec;

use super::content::{SystemContent, SystemKind};
use super::event::RoomName;
use crate::id::AccountId;

/// What the room says.
pub(super) enum Said<'a> {
    RoomCreated,
    MembersAdded { by: &'a AccountId, accounts: &'a [AccountId] },
    MemberLeft { account: &'a AccountId },
    MembersRemoved { accounts: &'a [AccountId] },
    RoomRenamed { by: &'a AccountId, name: &'a RoomName },
    RoomArchived { by: &'a AccountId },
    OwnerNamed { account: &'a AccountId },
}

impl Said<'_> {
    /// In words, with the names that `name` knows.
    pub(super) fn content(self, name: &dyn Fn(&AccountId) -> String) -> SystemContent {
        let (kind, text, accounts): (_, _, Vec<AccountId>) = match self {
            Self::RoomCreated => (SystemKind::RoomCreated, "A new room has been created".into(), Vec::new()),
            Self::MembersAdded { by, accounts } => {
                let text = match accounts {
                    [one] => alloc::format!("\"{}\" added \"{}\" to the channel", name(by), name(one)),
                    _ => alloc::format!("\"{}\" added members to the channel", name(by)),
                };
                (SystemKind::MembersAdded, text, accounts.to_vec())
            }
            Self::MemberLeft { account } => {
                let text = alloc::format!("\"{}\" left the channel", name(account));
                (SystemKind::MemberLeft, text, alloc::vec![account.clone()])
            }
            Self::MembersRemoved { accounts } => {
                let text = match accounts {
                    [one] => alloc::format!("\"{}\" has been removed from the channel", name(one)),
                    more => alloc::format!("{} members have been removed from the channel", more.len()),
                };
                (SystemKind::MemberRemoved, text, accounts.to_vec())
            }
            Self::RoomRenamed { by, name: new } => {
                let text = alloc::format!("\"{}\" renamed the channel to \"{new}\"", name(by));
                (SystemKind::RoomRenamed, text, Vec::new())
            }
            Self::RoomArchived { by } => {
                let text = alloc::format!("\"{}\" archived the channel", name(by));
                (SystemKind::RoomArchived, text, Vec::new())
            }
            Self::OwnerNamed { account } => {
                let text = alloc::format!("\"{}\" is now the owner of the channel", name(account));
                (SystemKind::OwnerNamed, text, alloc::vec![account.clone()])
            }
        };
        SystemContent { kind, text, accounts }
    }
}

/// The name of an account for people: `name local_name`, the one that is not empty, once if they are equal, else the account.
pub fn display_name(account: &AccountId, name: &str, local_name: Option<&str>) -> String {
    let (name, local) = (name.trim(), local_name.unwrap_or("").trim());
    match (name.is_empty(), local.is_empty()) {
        (true, true) => account.as_str().into(),
        (true, false) => local.into(),
        (false, true) => name.into(),
        (false, false) if name == local => name.into(),
        (false, false) => alloc::format!("{name} {local}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_there_and_once() {
        let account: AccountId = "ada".parse().expect("valid");
        assert_eq!(display_name(&account, "Ada", Some("エイダ")), "Ada エイダ");
        assert_eq!(display_name(&account, "Ada", Some(" Ada ")), "Ada");
        assert_eq!(display_name(&account, "", Some("エイダ")), "エイダ");
        assert_eq!(display_name(&account, " ", None), "ada");
    }
}
