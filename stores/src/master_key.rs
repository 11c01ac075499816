//! Where a site's master key comes from: a file in the data folder, a file elsewhere, or the text itself.
//!
//! A key is made only where there is nothing yet that another key could have sealed: in an empty data folder. Everything
//! else that is missing or odd is refused, in words that say what to do. The text of a key is 64 hexadecimal digits, or
//! base64 of 32 bytes, on one line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chamberlain_core::site::MasterKey;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Name of the key's file in the data folder.
pub const FILE_NAME: &str = "master.key";

/// The longest file that is read as a key, bytes.
const TEXT_MAX: u64 = 4_096;

/// Where to look for the master key.
#[derive(Clone)]
pub enum MasterKeySource {
    /// [`FILE_NAME`] in the data folder; made when the folder is empty or not there.
    DataFolder,
    /// This file, which must exist and be readable by its owner alone.
    File(PathBuf),
    /// This text, for instance from the environment.
    Text(Zeroizing<String>),
}

impl std::fmt::Debug for MasterKeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataFolder => f.write_str("DataFolder"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Text(_) => f.write_str("Text(..)"),
        }
    }
}

/// A master key, and whether it was made just now.
#[derive(Debug)]
pub struct Loaded {
    /// The key.
    pub key: MasterKey,
    /// The file it was written to, when it was made just now: somebody should be told to keep a copy.
    pub made: Option<PathBuf>,
}

/// Why there is no master key. The words are for an operator.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The data folder holds something, but no key.
    #[error(
        "{} holds data but no {FILE_NAME}: put back the key that belongs to it, or give the key by CHAMBERLAIN_MASTER_KEY \
         or a file; a new one is made only in an empty folder, because it could not open what is there",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file is not there.
    #[error("the master key file {} is not there", .0.display())]
    NoFile(PathBuf),
    /// Others than the owner may read or write the file.
    #[error("others may read or write {} (mode {mode:03o}): run `chmod 600 {}`, and if others had access, see this key as known to them", .path.display(), .path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The text is no key.
    #[error("{0} is no master key: 64 hexadecimal digits or base64 of 32 bytes, on one line")]
    Malformed(String),
    /// The file system or the source of randomness failed.
    #[error("{doing}: {why}")]
    Io {
        /// What was being done.
        doing: String,
        /// What went wrong.
        why: io::Error,
    },
}

impl MasterKeySource {
    /// Reads the key, or makes one where that is allowed. `data` is the data folder; it may be absent. Blocks.
    pub fn load(&self, data: &Path) -> Result<Loaded, MasterKeyError> {
        match self {
            Self::Text(text) => Ok(Loaded { key: parse(text, "the text given")?, made: None }),
            Self::File(path) => match read(path)? {
                Some(key) => Ok(Loaded { key, made: None }),
                None => Err(MasterKeyError::NoFile(path.clone())),
            },
            Self::DataFolder => {
                let path = data.join(FILE_NAME);
                if let Some(key) = read(&path)? {
                    return Ok(Loaded { key, made: None });
                }
                if !is_empty(data)? {
                    return Err(MasterKeyError::Missing(data.to_owned()));
                }
                make_folder(data).map_err(|why| failed("making", data, why))?;
                let key = make(&path)?;
                Ok(Loaded { key, made: Some(path) })
            }
        }
    }
}

/// Reads a key's text, with white space around it.
fn parse(text: &str, what: &str) -> Result<MasterKey, MasterKeyError> {
    let text = text.trim();
    let mut bytes = Zeroizing::new([0; 32]);
    let read = if text.len() == 64 {
        let digits = text.as_bytes().chunks_exact(2).zip(bytes.iter_mut());
        digits.fold(true, |good, (pair, byte)| {
            let value = |digit: u8| char::from(digit).to_digit(16);
            match (value(pair[0]), value(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = (high << 4 | low) as u8;
                    good
                }
                _ => false,
            }
        })
    } else {
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(text).unwrap_or_default());
        let fits = decoded.len() == bytes.len();
        if fits {
            bytes.copy_from_slice(&decoded);
        }
        fits
    };
    if read { Ok(MasterKey::from_bytes(*bytes)) } else { Err(MasterKeyError::Malformed(what.to_owned())) }
}

/// Reads a key file; `None` when there is none.
fn read(path: &Path) -> Result<Option<MasterKey>, MasterKeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failed("opening", path, why)),
    };
    check_mode(path, &file)?;
    let mut text = Zeroizing::new(String::with_capacity(TEXT_MAX as usize));
    match file.take(TEXT_MAX).read_to_string(&mut text) {
        Ok(_) => parse(&text, &path.display().to_string()).map(Some),
        Err(why) if why.kind() == io::ErrorKind::InvalidData => {
            Err(MasterKeyError::Malformed(path.display().to_string()))
        }
        Err(why) => Err(failed("reading", path, why)),
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<(), MasterKeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_err(|why| failed("examining", path, why))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(MasterKeyError::TooOpen { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _file: &File) -> Result<(), MasterKeyError> {
    Ok(())
}

/// What an operator, or the file system, puts into a folder before there is any data in it.
const NO_DATA: &[&str] = &["chamberlain.toml", "lost+found"];

/// Whether the folder holds no data, or is not there. An entry that cannot be read counts as data.
fn is_empty(folder: &Path) -> Result<bool, MasterKeyError> {
    let is_data = |entry: &fs::DirEntry| !NO_DATA.iter().any(|name| entry.file_name() == *name);
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(!entries.any(|entry| entry.as_ref().map_or(true, is_data))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(why) => Err(failed("reading", folder, why)),
    }
}

/// Makes a key and writes it, durably, to a file that is not there yet.
fn make(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(&mut bytes[..]).map_err(|why| failed("drawing a key for", path, io::Error::other(why)))?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in bytes.iter() {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text.push('\n');
    write_new(path, text.as_bytes()).map_err(|why| failed("writing", path, why))?;
    Ok(MasterKey::from_bytes(*bytes))
}

/// Writes a file that is not there yet, readable by its owner alone; durable when it returns.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_folder_of(path)
}

/// Makes a folder that only its owner may enter, and what leads to it.
/// Makes a folder that its owner alone may look into, and those above it.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    sync_folder_of(folder)
}

/// Makes the entry of a new file in its folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A folder can be opened and synced on Unix alone.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn failed(doing: &str, path: &Path, why: io::Error) -> MasterKeyError {
    MasterKeyError::Io { doing: format!("{doing} {}", path.display()), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys have no equality; what is derived from them has.
    fn same(one: &MasterKey, other: &MasterKey) -> bool {
        one.derive("test") == other.derive("test")
    }

    fn text(text: &str) -> Result<Loaded, MasterKeyError> {
        MasterKeySource::Text(Zeroizing::new(text.into())).load(Path::new("unused"))
    }

    #[test]
    fn an_empty_folder_gets_a_key_and_keeps_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("data");
        let made = MasterKeySource::DataFolder.load(&folder).expect("made");
        assert_eq!(made.made, Some(folder.join(FILE_NAME)));
        fs::write(folder.join("something"), "else").expect("written");
        let again = MasterKeySource::DataFolder.load(&folder).expect("read");
        assert!(again.made.is_none() && same(&made.key, &again.key));
        let elsewhere = MasterKeySource::File(folder.join(FILE_NAME)).load(Path::new("unused")).expect("read");
        assert!(same(&made.key, &elsewhere.key));
    }

    #[test]
    fn a_folder_with_data_and_no_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("store.redb"), "data").expect("written");
        let refused = MasterKeySource::DataFolder.load(folder.path()).expect_err("refused");
        assert!(matches!(refused, MasterKeyError::Missing(_)));
        assert!(refused.to_string().contains("put back the key"), "{refused}");
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[test]
    fn a_folder_with_its_configuration_alone_holds_no_data() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("chamberlain.toml"), "").expect("written");
        assert!(MasterKeySource::DataFolder.load(folder.path()).expect("made").made.is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let made = MasterKeySource::DataFolder.load(folder.path()).expect("made").made.expect("made just now");
        assert_eq!(fs::metadata(&made).expect("there").permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o622] {
            fs::set_permissions(&made, fs::Permissions::from_mode(mode)).expect("set");
            let refused = MasterKeySource::DataFolder.load(folder.path()).expect_err("refused");
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn keys_are_hexadecimal_or_base64() {
        let hex = text(&format!(" {}\n", "0aFf".repeat(16))).expect("a key");
        let mut bytes = [0x0a; 32];
        bytes.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = 0xff);
        assert!(same(&hex.key, &MasterKey::from_bytes(bytes)));
        let base64 = text(&BASE64_STANDARD.encode(bytes)).expect("a key");
        assert!(same(&hex.key, &base64.key));
        for bad in
            ["", "secret", &"0g".repeat(32), &"00".repeat(31), &"00".repeat(33), &BASE64_STANDARD.encode([1; 31])]
        {
            assert!(matches!(text(bad), Err(MasterKeyError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_text() {
        let refused = text("correct horse battery staple").expect_err("refused");
        assert!(!format!("{refused} {refused:?}").contains("horse"));
    }
}
