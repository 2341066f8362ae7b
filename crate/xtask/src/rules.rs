//! Rules that hold for the whole repository and that no compiler checks.

use crate::{Failure, types};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate of ours may use of ours. Dependencies point one way.
const MAY_USE: &[(&str, &[&str])] = &[
    ("nbrewind-analysis", &[]),
    ("nbrewind-memory", &[]),
    ("nbrewind-plan", &["nbrewind-analysis"]),
    ("nbrewind-store", &[]),
    (
        "nbrewind-native",
        &[
            "nbrewind-analysis",
            "nbrewind-memory",
            "nbrewind-plan",
            "nbrewind-store",
        ],
    ),
    ("nbrewind-wasm", &["nbrewind-analysis"]),
    ("xtask", &["nbrewind-analysis"]),
];

/// Crates that touch nothing outside their arguments.
const PURE: &[&str] = &["nbrewind-analysis", "nbrewind-plan"];

/// What a pure crate must not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::time",
    "std::process",
    "std::net",
    "std::thread",
];

/// Where threads only compute, and are gone when the call returns: nothing that is said depends on them.
const COMPUTES_ON_THREADS: &str = "crate/nbrewind-analysis/src/ahead.rs";

/// Checks every rule; the error lists everything that does not hold.
pub fn check(root: &Path) -> Result<String, Failure> {
    let mut broken = Vec::new();
    dependencies(root, &mut broken)?;
    purity(root, &mut broken)?;
    versions(root, &mut broken)?;
    named_paths(root, &mut broken)?;
    machine_paths(root, &mut broken)?;
    broken.extend(types::check(root).err());
    if broken.is_empty() {
        Ok("Every rule holds.".to_owned())
    } else {
        Err(format!(
            "{} rules are broken:\n  {}",
            broken.len(),
            broken.join("\n  ")
        ))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn dependencies(root: &Path, broken: &mut Vec<String>) -> Result<(), Failure> {
    let known: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    for entry in fs::read_dir(root.join("crate")).map_err(|error| format!("crate: {error}"))? {
        let folder = entry.map_err(|error| error.to_string())?.path();
        let manifest = folder.join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(allowed) = known.get(name.as_str()) else {
            broken.push(format!(
                "crate/{name} is not in the list of crates of xtask"
            ));
            continue;
        };
        let mut in_dependencies = false;
        for line in read(&manifest)?.lines() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
            }
            let used = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if in_dependencies && known.contains_key(used) && !allowed.contains(&used) {
                broken.push(format!("crate/{name} must not use {used}"));
            }
        }
    }
    Ok(())
}

fn purity(root: &Path, broken: &mut Vec<String>) -> Result<(), Failure> {
    for name in PURE {
        for file in rust_files(&root.join("crate").join(name).join("src"))? {
            let is_on_threads = file == root.join(COMPUTES_ON_THREADS);
            for (at, line) in read(&file)?.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for word in IMPURE {
                    if code.contains(word) && !(is_on_threads && *word == "std::thread") {
                        let file = file.strip_prefix(root).unwrap_or(&file);
                        broken.push(format!(
                            "{}:{}: a pure crate uses {word}",
                            file.display(),
                            at + 1
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn versions(root: &Path, broken: &mut Vec<String>) -> Result<(), Failure> {
    let workspace = value_in_section(
        &read(&root.join("Cargo.toml"))?,
        "workspace.package",
        "version",
    )
    .ok_or("Cargo.toml has no version in [workspace.package]")?;
    let pyproject = root.join("pyproject.toml");
    if pyproject.exists() {
        let text = read(&pyproject)?;
        let is_dynamic = text
            .lines()
            .any(|line| line.trim().starts_with("dynamic") && line.contains("\"version\""));
        match value_in_section(&text, "project", "version") {
            Some(version) if version != workspace => {
                broken.push(format!(
                    "pyproject.toml has version {version}, Cargo.toml {workspace}"
                ));
            }
            None if !is_dynamic => broken
                .push("pyproject.toml has no version and does not leave it to maturin".to_owned()),
            _ => {}
        }
    }
    let package = root.join("package.json");
    if package.exists() {
        let text = read(&package)?;
        let version = text
            .split("\"version\"")
            .nth(1)
            .and_then(|rest| rest.split('"').nth(1))
            .unwrap_or_default();
        if version != workspace {
            broken.push(format!(
                "package.json has version {version}, Cargo.toml {workspace}"
            ));
        }
    }
    Ok(())
}

fn value_in_section(text: &str, section: &str, key: &str) -> Option<String> {
    let mut is_here = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            is_here = name == section;
        } else if is_here
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().trim_matches('"').to_owned());
        }
    }
    None
}

/// Every path that the architecture page names in backticks exists.
fn named_paths(root: &Path, broken: &mut Vec<String>) -> Result<(), Failure> {
    let tops = [
        "crate/",
        "nbrewind/",
        "tests/",
        "docs/",
        "bench/",
        "vendor/",
        "src-ts/",
        "tools/",
        "demo/",
        "data/",
    ];
    for (at, line) in read(&root.join("docs/ARCHITECTURE.md"))?
        .lines()
        .enumerate()
    {
        for name in line.split('`').skip(1).step_by(2) {
            let name = name.trim_end_matches('/');
            let looks_like_path =
                tops.iter().any(|top| format!("{name}/").starts_with(top)) && !name.contains(' ');
            if !looks_like_path {
                continue;
            }
            // `tests/cases/*.md` names its folder.
            let fixed = name.split('*').next().unwrap_or(name).trim_end_matches('/');
            // Folders may be promised for a later step; then the page says so.
            let is_promised = line.contains("comes with");
            if !root.join(fixed).exists() && !is_promised {
                broken.push(format!(
                    "docs/ARCHITECTURE.md:{}: `{name}` does not exist",
                    at + 1
                ));
            }
        }
    }
    Ok(())
}

/// No tracked file names a folder of the machine it was written on.
fn machine_paths(root: &Path, broken: &mut Vec<String>) -> Result<(), Failure> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z"])
        .output()
        .map_err(|error| format!("git did not start: {error}"))?;
    if !output.status.success() {
        // An unpacked source archive has no history to ask.
        return Ok(());
    }
    // Put together here, so that this file does not contain what it looks for.
    let patterns: Vec<String> = ["work/main", "work/shared", "root/.cargo", "home/runner"]
        .iter()
        .map(|folder| format!("/{folder}"))
        .collect();
    for name in String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        let Ok(bytes) = fs::read(root.join(name)) else {
            continue;
        };
        // Not text: images and stores of the tests.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            for pattern in patterns
                .iter()
                .filter(|pattern| line.contains(pattern.as_str()))
            {
                broken.push(format!("{name}:{}: names {pattern}", at + 1));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_from_its_section() {
        let text = "[a]\nversion = \"1\"\n[b]\nversion = \"2\"\n";
        assert_eq!(value_in_section(text, "b", "version").as_deref(), Some("2"));
        assert_eq!(value_in_section(text, "c", "version"), None);
    }
}
