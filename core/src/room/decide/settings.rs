//! Name, end and key of a room.

use super::{Case, Decided, Decision};
use crate::room::event::{Event, RoomName};
use crate::room::refused::{Reason, Refused};
use crate::room::system::Said;

impl Case<'_> {
    pub(super) fn rename(&self, name: &str) -> Decided {
        self.channel()?;
        self.may_govern()?;
        self.not_archived()?;
        let name: RoomName =
            name.parse().map_err(|error| Refused::new(Reason::InvalidName, alloc::format!("{error}")))?;
        let said = Said::RoomRenamed { by: &self.request.account, name: &name };
        let told = self.system(self.current()?, 0, said);
        Ok(Decision::Record(alloc::vec![Event::Renamed { name: name.clone() }.into(), told]))
    }

    pub(super) fn archive(&self) -> Decided {
        self.channel()?;
        self.may_govern()?;
        self.not_archived()?;
        let told = self.system(self.current()?, 0, Said::RoomArchived { by: &self.request.account });
        Ok(Decision::Record(alloc::vec![told, Event::Archived.into()]))
    }

    /// In a direct message room, which has no owners, either of the two may.
    pub(super) fn rotate(&self) -> Decided {
        match self.state.member(&self.request.account) {
            Some(_) if self.channel().is_err() => self.requester().map(|_| ())?,
            _ => self.may_govern()?,
        }
        Ok(Decision::Record(alloc::vec![self.rotation()?.into()]))
    }
}
