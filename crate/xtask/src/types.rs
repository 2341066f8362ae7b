//! Keeps `src-ts/generated/analysis.ts` equal to what the analysis says its types are.

use crate::Failure;
use std::fs;
use std::path::Path;

const FILE: &str = "src-ts/generated/analysis.ts";

/// Writes the file.
pub fn write(root: &Path) -> Result<String, Failure> {
    let path = root.join(FILE);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, nbrewind_analysis::typescript()))
        .map_err(|error| format!("{FILE}: {error}"))?;
    Ok(format!("{FILE} is written."))
}

/// Fails when the file is old.
pub fn check(root: &Path) -> Result<String, Failure> {
    let known = fs::read_to_string(root.join(FILE)).unwrap_or_default();
    if known == nbrewind_analysis::typescript() {
        Ok(format!("{FILE} is current."))
    } else {
        Err(format!("{FILE} is old: cargo run -p xtask -- types"))
    }
}
