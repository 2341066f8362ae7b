#!/usr/bin/env bash
# Builds dist/*.whl: one file for every Python from 3.11 on, for Linux with glibc 2.28 or newer (RHEL 8).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

tools/setup.sh lab
rm -f dist/*.whl
# zig links against an old glibc from any machine. It has a target folder of its own: with the same one,
# this build and `maturin develop` would throw each other's C objects away.
VIRTUAL_ENV=$VENV PATH=$VENV/bin:$PATH CARGO_TARGET_DIR=$ROOT/target/wheel \
    "$VENV/bin/maturin" build --quiet --release --locked --zig --compatibility manylinux_2_28 --out dist
ls -l dist/*.whl
