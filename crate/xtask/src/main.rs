//! Chores of the repository: `cargo run -p xtask -- wasm` builds the browser face into `pkg/`,
//! `cargo run -p xtask -- rules` checks what `docs/ARCHITECTURE.md` promises about the repository,
//! `cargo run -p xtask -- types` writes the types that TypeScript shares with the analysis.

mod floats;
mod rules;
mod types;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A chore that cannot be finished, in words for whoever ran it.
type Failure = String;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "wasm" => wasm::build(&root()),
        "rules" => rules::check(&root()),
        "types" if std::env::args().nth(2).as_deref() == Some("--check") => types::check(&root()),
        "types" => types::write(&root()),
        other => Err(format!("{other:?} is no task; use: wasm, rules, types")),
    };
    match result {
        Ok(report) => {
            say(&report);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!("xtask: {failure}"));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
fn say(text: &str) {
    println!("{text}");
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
