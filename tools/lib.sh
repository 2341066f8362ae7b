# What the build scripts share. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/.build
VENV=$BUILD/venv
STAMPS=$BUILD/stamps
# Where the builder writes, and where maturin takes it from; relative to the root.
LABEXTENSION=data/data/share/jupyter/labextensions/nbrewind
# pyo3's build script must see one Python always, else every crate above it is built again and again.
export PYO3_PYTHON=$VENV/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Node trusts only the authorities that it brings along; behind a proxy of an institute the system knows one more.
AUTHORITIES=/etc/ssl/certs/ca-certificates.crt
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r "$AUTHORITIES" ]; then export NODE_EXTRA_CA_CERTS=$AUTHORITIES; fi

say() { printf '\n== %s\n' "$*"; }

# The first line says what is wrong, the others what to do.
stop() {
    printf '\nnbrewind: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 1
}

# One hash over names and contents of the files and folders given.
hash_of() {
    (
        cd "$ROOT"
        find "$@" -type f ! -name '*.so' ! -name '*.pyc' -print0 | LC_ALL=C sort -z |
            xargs -0 sha256sum | sha256sum | cut -d' ' -f1
    )
}

# A stamp holds the hash of what a step was made from; the step is done again when it differs.
is_stamped() { [ "$(cat "$STAMPS/$1" 2>/dev/null)" = "$2" ]; }
stamp() { mkdir -p "$STAMPS" && printf '%s\n' "$2" >"$STAMPS/$1"; }

pip_install() {
    local python=$1
    shift
    "$python" -m pip install --quiet --no-input --retries 5 --timeout 60 "$@" </dev/null
}
