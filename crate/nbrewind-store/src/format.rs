//! The file that makes a folder a store, and says which version of the format it has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StoreError;
use crate::error::is_gone;
use crate::frame::FORMAT_VERSION;
use crate::writer::{WRITERS_DIR, sync_dir};

pub(crate) const FORMAT_FILE: &str = "format.json";
const IGNORE_FILE: &str = ".gitignore";
const FORMAT_NAME: &str = "nbrewind-store";

#[derive(Serialize, Deserialize)]
struct Format {
    format: String,
    version: u32,
}

/// Makes an absent or empty folder a store. What an interrupted start left behind counts as empty.
pub(crate) fn create_if_empty(dir: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(dir, error);
    if dir.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    match fs::create_dir_all(dir) {
        Err(error) if !dir.is_dir() => {
            let is_file = matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
            );
            let why = "its path leads to a file".to_owned();
            return Err(if is_file {
                StoreError::NotAStore {
                    dir: dir.to_owned(),
                    why,
                }
            } else {
                failed(error)
            });
        }
        _ => {}
    }
    let temporary = format!(".{FORMAT_FILE}.");
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if name != IGNORE_FILE
            && name != WRITERS_DIR
            && name != FORMAT_FILE
            && !name.starts_with(&temporary)
        {
            let why = format!("it has no {FORMAT_FILE} and holds other files, such as {name}");
            return Err(StoreError::NotAStore {
                dir: dir.to_owned(),
                why,
            });
        }
    }
    let ignore = dir.join(IGNORE_FILE);
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&ignore)
    {
        Ok(mut file) => file
            .write_all(b"*\n")
            .map_err(|error| StoreError::io(&ignore, error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StoreError::io(&ignore, error)),
    }
    let writers = dir.join(WRITERS_DIR);
    match fs::create_dir(&writers) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StoreError::io(&writers, error));
        }
        _ => {}
    }
    // The version appears under its name only when it is complete; several processes may do this at once.
    let format = Format {
        format: FORMAT_NAME.into(),
        version: FORMAT_VERSION,
    };
    let path = dir.join(format!("{temporary}{}", Uuid::new_v4()));
    let write = || {
        let mut file = File::create_new(&path)?;
        serde_json::to_writer(&mut file, &format)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&path, dir.join(FORMAT_FILE))
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&path);
        StoreError::io(dir.join(FORMAT_FILE), error)
    })?;
    sync_dir(dir)
}

pub(crate) fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FORMAT_FILE);
    let not_a_store = |why: String| StoreError::NotAStore {
        dir: dir.to_owned(),
        why,
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if is_gone(&error) && !dir.exists() => {
            return Err(not_a_store("the folder does not exist".into()));
        }
        Err(error) if is_gone(&error) => {
            return Err(not_a_store(format!("it has no {FORMAT_FILE}")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(not_a_store("its path leads to a file".into()));
        }
        Err(error) => return Err(StoreError::io(path, error)),
    };
    let format: Format = serde_json::from_slice(&text)
        .map_err(|_| not_a_store(format!("its {FORMAT_FILE} is damaged; it should read {{\"format\":\"{FORMAT_NAME}\",\"version\":{FORMAT_VERSION}}}")))?;
    if format.format != FORMAT_NAME {
        return Err(not_a_store(format!(
            "its {FORMAT_FILE} names the format {:?}",
            format.format
        )));
    }
    if format.version > FORMAT_VERSION {
        return Err(StoreError::NewerFormat {
            path,
            found: format.version,
            known: FORMAT_VERSION,
        });
    }
    Ok(())
}
