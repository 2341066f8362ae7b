//! Chores of the repository: `cargo run -p xtask -- wasm` builds the browser face into `pkg/`,
//! `cargo run -p xtask -- rules` checks what `docs/ARCHITECTURE.md` promises about the repository.

mod rules;
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
        other => Err(format!("{other:?} is no task; use: wasm, rules")),
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
