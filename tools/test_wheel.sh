#!/usr/bin/env bash
# Installs the wheel of dist/ into an empty environment and uses it there as its user would, far from the sources.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

wheel=$(ls dist/nbrewind-*.whl)
empty=$BUILD/wheel-venv
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT

NBREWIND_WHEEL=$wheel "$VENV/bin/python" -m pytest -q tests/python/test_wheel.py

say "installing $wheel"
rm -rf "$empty"
# The Python that made .build/venv, not that environment itself.
"$("$VENV/bin/python" -c 'import sys; print(sys._base_executable)')" -m venv "$empty"
pip_install "$empty/bin/python" -c tools/requirements.txt "$ROOT/$wheel[demo,lab]"

cp -r demo "$elsewhere/demo"
rm -rf "$elsewhere/demo/out" "$elsewhere/demo/data"
cd "$elsewhere"
# Neither the sources nor another environment may help.
unset PYTHONPATH VIRTUAL_ENV JUPYTER_PATH
export PATH=$empty/bin:$PATH
python - "$empty" <<'PYTHON'
import sys, nbrewind, nbrewind._native
for module in (nbrewind, nbrewind._native):
    assert module.__file__.startswith(sys.argv[1]), f"{module.__name__} came from {module.__file__}"
PYTHON
kernels=$(jupyter kernelspec list --json)
for name in nbrewind-audit nbrewind-repeat; do
    grep -q "\"$name\"" <<<"$kernels" || stop "The wheel did not install the kernel $name." "$kernels"
done
# JupyterLab and its server see what the wheel installed, with neither Node nor Rust. Their lists go to standard error.
only=$empty/bin
extensions=$(PATH=$only jupyter labextension list 2>&1)
grep -Eq 'nbrewind v[0-9.]+ .*enabled.* .*OK' <<<"$extensions" ||
    stop "JupyterLab does not see the labextension of the wheel." "$extensions"
extensions=$(PATH=$only jupyter server extension list 2>&1)
grep -Eq 'nbrewind .*OK' <<<"$extensions" ||
    stop "The Jupyter server does not see the extension of the wheel." "$extensions"
python demo/run.py --small --shadow --work "$elsewhere/work"
