//! A store's file, opened so that what is read from it is on the disk.
//!
//! A process that was killed leaves pages in the system's cache that were never synced; a sync that failed leaves pages there
//! that never will be, and says so once. So the file is synced and then dropped from the cache before anything is read: a
//! state that a power cut would take back is never answered from. (Dropping is a request that systems honour for clean pages.)

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::medium::Medium;
use crate::master_key::{make_folder, sync_folder_of, write_new};

/// A file and the way to it.
pub(super) struct FileMedium {
    path: PathBuf,
}

impl FileMedium {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Medium for FileMedium {
    fn is_new(&self) -> io::Result<bool> {
        Ok(!self.path.try_exists()?)
    }

    fn install(&self, contents: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            make_folder(folder)?;
        }
        // A name of its own, so that two servers that start at once do not write into each other's file.
        let mut suffix = [0; 4];
        SysRng.try_fill_bytes(&mut suffix).map_err(io::Error::other)?;
        let mut draft = self.path.clone().into_os_string();
        draft.push(format!(".new-{:08x}", u32::from_be_bytes(suffix)));
        let draft = PathBuf::from(draft);
        let installed = write_new(&draft, contents).and_then(|()| match fs::hard_link(&draft, &self.path) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
        fs::remove_file(&draft).and(installed)?;
        sync_folder_of(&self.path)
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        file.sync_all()?;
        sync_folder_of(&self.path)?;
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty; remove it to have a store made"));
        }
        drop_cached(&file)?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(target_os = "linux")]
fn drop_cached(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
fn drop_cached(_file: &File) -> io::Result<()> {
    Ok(())
}
