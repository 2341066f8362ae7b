#!/usr/bin/env bash
# Sets up what a part of the build needs, and is quick when nothing is missing.
#
#   tools/setup.sh rust      a C compiler and Rust
#   tools/setup.sh python    and .build/venv with the versions of tools/requirements.txt
#   tools/setup.sh native    and the package, compiled, in that environment
#   tools/setup.sh wasm      what xtask needs to build the browser face
#   tools/setup.sh lab       Node packages, and the labextension built where JupyterLab finds it
#   tools/setup.sh browser   Chromium, for the tests that use JupyterLab as people do
#   tools/setup.sh all       (default) native, wasm and lab
#
# System packages are installed only as root through apt-get; anyone else is told the command. Everything
# else stays inside .build/ and target/.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

need_packages() {
    local why=$1
    shift
    local apt=(apt-get -o DPkg::Lock::Timeout=300)
    if ! command -v apt-get >/dev/null; then
        stop "$why" "Install what your system calls: $*" "and run this again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        stop "$why" "Run:  sudo apt-get install --no-install-recommends $*" "and run this again."
    fi
    say "apt-get install $*   ($why)"
    "${apt[@]}" update -qq </dev/null || true
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y -qq --no-install-recommends "$@" </dev/null ||
        stop "apt-get could not install: $*" "Run:  apt-get update && apt-get install $*" "and see what it says."
}

setup_rust() {
    command -v cargo >/dev/null || stop "Rust is missing: there is no cargo on PATH." \
        "Install it as https://rustup.rs says (1.95 or newer), and run this again."
    local version
    version=$(rustc --version | sed -E 's/^rustc 1\.([0-9]+)\..*/\1/')
    [ "$version" -ge 95 ] 2>/dev/null || stop "Rust 1.95 or newer is needed; this is $(rustc --version)." \
        "Run:  rustup update stable"
    command -v cc >/dev/null || need_packages "a C compiler is missing" build-essential
}

# Prints a Python that is new enough, else nothing. Shims of version managers exist without working, so each is run.
find_python() {
    local name
    for name in ${PYTHON:-} python3.11 python3 python3.12 python3.13 python3.14 /usr/bin/python3.11 /usr/bin/python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 0
}

setup_python() {
    local python version wanted
    python=$(find_python)
    if [ -z "$python" ]; then
        need_packages "Python 3.11 or newer is missing" python3 python3-venv
        python=$(find_python)
        [ -n "$python" ] || stop "Python 3.11 or newer is missing." \
            "Install one, and run this again with PYTHON=/path/to/python3 if it is not on PATH."
    fi
    version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    wanted="$python $version $(hash_of tools/requirements.txt)"
    if is_stamped python "$wanted" && [ -x "$VENV/bin/python" ]; then return; fi
    "$python" -c 'import ensurepip' 2>/dev/null ||
        need_packages "Python's venv module is missing" "python${version%.*}-venv"
    say "Python $version: installing tools/requirements.txt into .build/venv"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
    pip_install "$VENV/bin/python" -r tools/requirements.txt
    stamp python "$wanted"
}

setup_native() {
    local wanted
    wanted=$(hash_of Cargo.toml Cargo.lock pyproject.toml data/data/share/jupyter/kernels jupyter_config.json vendor tools/requirements.txt \
        crate/nbrewind-{analysis,memory,plan,store,native})
    wanted="$wanted $("$VENV/bin/python" -V) $(rustc --version)"
    if is_stamped native "$wanted" && [ -n "$(compgen -G 'nbrewind/_native*.so')" ] && [ -x "$VENV/bin/nbrewind" ]; then
        return
    fi
    say "compiling the package into .build/venv"
    VIRTUAL_ENV=$VENV "$VENV/bin/maturin" develop --quiet --release --locked </dev/null
    stamp native "$wanted"
}

setup_wasm() {
    command -v node >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] ||
        stop "Node 20 or newer is needed to run the cases through the browser face." \
            "Install it from https://nodejs.org or your system's packages, and run this again."
    if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ]; then return; fi
    if has_debian_wasm; then return; fi
    # CI and machines that say RUSTUP_AUTO_INSTALL=0 download no part of a toolchain, even where they could.
    if [ -z "${CI:-}" ] && [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ] && command -v rustup >/dev/null; then
        say "rustup target add wasm32-unknown-unknown"
        if timeout 120 rustup target add wasm32-unknown-unknown </dev/null; then return; fi
    fi
    need_packages "rustup has no WASM target here" rustc-web cargo-web rust-web-src lld-22
    has_debian_wasm || stop "The packages are installed, but Rust's sources or wasm-ld-22 are not where expected." \
        "On a machine with a network:  rustup target add wasm32-unknown-unknown"
}

setup_node() {
    local wanted
    wanted="$(node -v) $(hash_of package.json yarn.lock .yarnrc.yml)"
    if is_stamped node "$wanted" && [ -d node_modules ]; then return; fi
    say "Node packages, as yarn.lock names them"
    local attempt
    for attempt in 1 2 3; do
        # A registry that stumbles once is no reason to fail.
        if PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 "$VENV/bin/jlpm" install --immutable </dev/null >"$BUILD/jlpm.log" 2>&1; then
            stamp node "$wanted"
            return
        fi
        say "attempt $attempt failed"
        tail -n 15 "$BUILD/jlpm.log"
    done
    stop "The Node packages could not be installed; the log is .build/jlpm.log."
}

setup_lab() {
    local wanted
    setup_node
    wanted="$(node -v) $(hash_of Cargo.toml Cargo.lock package.json yarn.lock tsconfig.json install.json src-ts style \
        schema vendor crate/{nbrewind-analysis,nbrewind-wasm,xtask})"
    if is_stamped lab "$wanted" && [ -n "$(compgen -G "$LABEXTENSION/static/remoteEntry.*.js")" ]; then return; fi
    say "building the labextension"
    cargo run --quiet --locked -p xtask -- wasm
    # A type error must not leave what an earlier build wrote.
    rm -rf lib tsconfig.tsbuildinfo
    "$VENV/bin/jlpm" build:lib </dev/null
    PATH=$VENV/bin:$PATH "$VENV/bin/jlpm" build:labextension </dev/null
    cp install.json "$LABEXTENSION/"
    rm -f "$LABEXTENSION"/schemas/*/*.orig
    # The environment shows what is built here; the wheel carries its own copy.
    mkdir -p "$VENV/share/jupyter/labextensions"
    rm -rf "$VENV/share/jupyter/labextensions/nbrewind"
    ln -s "$ROOT/$LABEXTENSION" "$VENV/share/jupyter/labextensions/nbrewind"
    stamp lab "$wanted"
}

setup_browser() {
    if command -v chromium >/dev/null || [ -n "${NBREWIND_CHROMIUM:-}" ]; then return; fi
    need_packages "the tests in a real browser need Chromium" chromium fonts-dejavu-core
}

has_debian_wasm() {
    command -v wasm-ld-22 >/dev/null && [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] &&
        [ -d "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std" ]
}

case ${1:-all} in
rust) setup_rust ;;
python) setup_python ;;
native) setup_rust && setup_python && setup_native ;;
wasm) setup_rust && setup_wasm ;;
lab | all)
    # What may need another person's hand is asked for first.
    setup_rust
    setup_wasm
    setup_python
    setup_native
    setup_lab
    ;;
browser) setup_browser ;;
*) stop "tools/setup.sh takes rust, python, native, wasm, lab, browser or all, not $1." ;;
esac
