//! Builds `crate/nbrewind-wasm` and binds it to JavaScript, without wasm-pack and without a network.
//!
//! Where rustup has the wasm32 target, its cargo builds. Elsewhere Debian's `rustc-web` and `rust-web-src` build the
//! standard library along with the crate. Each toolchain has a target folder of its own: sharing one would rebuild
//! everything at every switch.
//!
//! The second way makes the smaller module, without what panics would say. Both behave alike.

use crate::{Failure, floats};
use std::fs;
use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "wasm-release";

/// Builds `pkg/`; the report says how large the module is.
pub fn build(root: &Path) -> Result<String, Failure> {
    let target_dir = root.join("target/wasm");
    let (mut cargo, features) = cargo(&target_dir)?;
    cargo.current_dir(root).args([
        "build",
        "--locked",
        "-p",
        "nbrewind-wasm",
        "--target",
        TARGET,
        "--profile",
        PROFILE,
    ]);
    cargo.args(features);
    let status = cargo
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if !status.success() {
        return Err("the WASM build failed".to_owned());
    }
    let module = target_dir
        .join(TARGET)
        .join(PROFILE)
        .join("nbrewind_wasm.wasm");
    let pkg = root.join("pkg");
    let mut module =
        walrus::Module::from_file(&module).map_err(|error| format!("the module: {error:#}"))?;
    let is_small = floats::shrink(&mut module);
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen
        .input_bytes("nbrewind_wasm", module.emit_wasm())
        .out_name("nbrewind_wasm")
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(true)
                .omit_default_module_path(true)
                .remove_name_section(true)
                .remove_producers_section(true)
                .generate(&pkg)
        })
        .map_err(|error| format!("wasm-bindgen: {error:#}"))?;
    let bound = pkg.join("nbrewind_wasm_bg.wasm");
    let size = fs::metadata(&bound)
        .map_err(|error| format!("{}: {error}", bound.display()))?
        .len();
    let note = if is_small {
        ""
    } else {
        ", with the powers of five"
    };
    Ok(format!(
        "pkg/nbrewind_wasm_bg.wasm: {} KB{note}",
        size / 1000
    ))
}

/// The command, and the features that only this way has.
fn cargo(target_dir: &Path) -> Result<(Command, &'static [&'static str]), Failure> {
    if has_target() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.env("CARGO_TARGET_DIR", target_dir);
        return Ok((cargo, &["--features", "panic-texts"]));
    }
    let has = |path: &str| Path::new(path).exists();
    let linker = [
        "wasm-ld-22",
        "wasm-ld-21",
        "wasm-ld-20",
        "wasm-ld-19",
        "wasm-ld",
    ]
    .into_iter()
    .find(|name| has(&format!("/usr/bin/{name}")));
    let (true, true, Some(linker)) = (has("/usr/bin/cargo"), has("/usr/bin/rustc"), linker) else {
        return Err(format!(
            "no toolchain for {TARGET}. Either `rustup target add {TARGET}`, or on Debian \
             `apt-get install rustc-web cargo-web rust-web-src lld-22`"
        ));
    };
    let mut cargo = Command::new("/usr/bin/cargo");
    // What rustup's cargo has set for this process must not reach the other toolchain.
    for variable in [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_HOME",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        cargo.env_remove(variable);
    }
    cargo
        .env("RUSTC", "/usr/bin/rustc")
        // `-Z build-std` on a stable compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
        // What a panic would say is a tenth of the module. It still ends the call with an error, and the page asks anew.
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
            "-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none",
        )
        .args([
            "-Z",
            "build-std=std,panic_abort",
            "-Z",
            "build-std-features=optimize_for_size",
        ]);
    Ok((cargo, &[]))
}

/// Whether the compiler on the path has the target's standard library.
fn has_target() -> bool {
    let Ok(output) = Command::new("rustc").args(["--print", "sysroot"]).output() else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&sysroot)
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir()
}
