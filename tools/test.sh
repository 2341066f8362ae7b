#!/usr/bin/env bash
# Runs the stages of `make test`, or those named, and counts them. A stage that fails does not stop the others.
#
#   tools/test.sh [rust] [wasm] [lab] [python] [ui] [wheel] [lint]
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

passed=0
failed=0
summary=()

# stage NAME COMMAND...: runs it with nothing on standard input and keeps the score.
stage() {
    local name=$1 started=$SECONDS outcome
    shift
    say "$name"
    if "$@" </dev/null; then
        outcome=passed
        passed=$((passed + 1))
    else
        outcome=FAILED
        failed=$((failed + 1))
    fi
    summary+=("$(printf '%-7s %5d s  %s' "$outcome" $((SECONDS - started)) "$name")")
}

lint_rust() {
    stage "Rust: format" cargo fmt --all --check
    stage "Rust: clippy, warnings are errors" \
        cargo clippy --locked --workspace --all-targets -- -D warnings
    stage "Rust: repository rules" cargo run --quiet --locked -p xtask -- rules
}

test_rust() { stage "Rust: tests" cargo test --locked; }

lint_python() {
    stage "Python: ruff" "$VENV/bin/ruff" check
    stage "Python: format" "$VENV/bin/ruff" format --check
    stage "Python: types" "$VENV/bin/mypy"
}

# Three at a time: they wait for kernels more than they compute.
test_python() {
    stage "Python: tests, with real kernels and a real cluster" "$VENV/bin/python" -m pytest -n 3 --dist worksteal --durations 25
}

test_wasm() {
    stage "WASM: build" cargo run --quiet --locked -p xtask -- wasm
    stage "WASM: the cases through the browser face" node tests/wasm/cases.mjs
}

jlpm() { "$VENV/bin/jlpm" "$@"; }

lint_lab() {
    stage "Front end: eslint and prettier" jlpm lint
}

test_lab() { stage "Front end: unit tests against the real WASM" jlpm test; }

# A real browser, `jupyter lab`, kernels and cluster of this environment.
run_stories() { PATH=$VENV/bin:$PATH jlpm test:ui "$@"; }

test_ui() { stage "JupyterLab: stories in a real browser" run_stories; }

test_wheel() {
    stage "Wheel: build for manylinux_2_28" tools/wheel.sh
    stage "Wheel: install it into an empty environment and run the demo" tools/test_wheel.sh
}

# beside PART: runs a part while others run, out of sight; `gather` then shows and counts it.
beside() {
    rm -f "$BUILD/beside.score"
    (
        passed=0 failed=0 summary=()
        "$@"
        {
            echo "$passed $failed"
            printf '%s\n' "${summary[@]}"
        } >"$BUILD/beside.score"
    ) >"$BUILD/beside.log" 2>&1 &
}

gather() {
    local more_passed=0 more_failed=1 line
    wait
    cat "$BUILD/beside.log"
    if [ -f "$BUILD/beside.score" ]; then
        { read -r more_passed more_failed && while read -r line; do summary+=("$line"); done; } <"$BUILD/beside.score"
    else
        summary+=("FAILED            what ran beside the others did not end")
    fi
    passed=$((passed + more_passed))
    failed=$((failed + more_failed))
}

# What a person may have to install stops everything at once, before an hour of stages.
prepare() {
    for part in "$@"; do
        tools/setup.sh "$part" || {
            printf '\n0 passed, 1 failed\n'
            exit 1
        }
    done
}

[ $# -gt 0 ] || set -- rust wasm lab python ui wheel
for part in "$@"; do
    case $part in
    rust) prepare rust python ;;
    lint) prepare rust python native lab ;;
    python) prepare native ;;
    lab | wheel) prepare lab ;;
    ui) prepare lab browser ;;
    wasm) prepare wasm ;;
    *) stop "tools/test.sh takes rust, wasm, lab, python, ui, wheel or lint, not $part." ;;
    esac
done

# What runs beside is deaf to Ctrl-C.
trap 'trap - INT; kill 0' INT

# The browser's stories wait for pages and kernels more than they compute: the wheel is built and tried meanwhile.
is_beside=
[[ " $* " != *" ui "*"wheel "* ]] || is_beside=1

for part in "$@"; do
    case $part in
    rust) lint_rust && test_rust ;;
    python) lint_python && test_python ;;
    wasm) test_wasm ;;
    lab) lint_lab && test_lab ;;
    ui)
        [ -z "$is_beside" ] || beside test_wheel
        test_ui
        ;;
    wheel) if [ -n "$is_beside" ]; then gather; else test_wheel; fi ;;
    lint) lint_rust && lint_python && lint_lab ;;
    esac
done

say "stages"
printf '%s\n' "${summary[@]}"
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
