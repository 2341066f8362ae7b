#!/usr/bin/env bash
# The second half of `make demo`: the same jobs by typing and clicking, in a real browser on a real JupyterLab.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

if ! command -v node >/dev/null; then
    say "The jobs in JupyterLab are left out: they need Node 20 or newer, which is not on PATH."
    exit 0
fi
tools/setup.sh lab
tools/setup.sh browser
say "the jobs in JupyterLab, by typing and clicking"
PATH=$VENV/bin:$PATH "$VENV/bin/jlpm" test:ui jobs
