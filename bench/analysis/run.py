"""Full analyses and single edits of notebooks of fixed size, natively and in WebAssembly (node).

    python bench/analysis/run.py [--edits 1000] [--peers PYTHON] [--write]

`--peers` is a Python with marimo, and ipyflow with numpy, pandas and matplotlib, or with one of them, which are then
timed on the same notebooks. `--write` makes docs/bench/analysis.md of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import notebooks

ROOT = Path(__file__).parents[2]
PEERS_HEAD = [
    "## Beside marimo and ipyflow",
    "",
    "| notebook | | full ms | cells reached | edit p50 ms | p99 | edits |",
    "|---|---|---|---|---|---|---|",
]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def build() -> Path:
    """The native program."""
    cargo = ["cargo", "build", "--locked", "--release", "-p", "nbrewind-analysis"]
    done = subprocess.run(
        [*cargo, "--example", "bench-analysis", "--message-format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
    return Path(next(path for path in reversed(found) if path))


def measure(command: list[str | Path], file: Path) -> dict[str, Any]:
    """What one program says of one notebook."""
    done = subprocess.run([*command, file], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peer(python: str, which: str, file: Path) -> dict[str, Any] | None:
    """What a peer says of one notebook; nothing, and why, if it cannot."""
    script = ROOT / "bench/analysis/peers.py"
    # What its cells write must not land in the repository.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, script, which, file], cwd=folder, capture_output=True, text=True
        )
    if done.returncode:
        print(f"{which}: {done.stderr.strip().splitlines()[-1]}", flush=True)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peer_row(name: str, which: str, found: dict[str, Any]) -> str:
    """One line of the table of peers."""
    edits = found["edit_ms"]
    cells = [
        name,
        f"{which} {found['version']}" if "version" in found else which,
        f"{statistics.median(found['full_ms'][3:] or found['full_ms']):.1f}",
        f"{statistics.mean(found['reached']):.0f}" if edits else "",
        *(f"{quantile(edits, share):.2f}" if edits else "" for share in (0.5, 0.99)),
        f"{len(edits)}",
    ]
    return f"| {' | '.join(cells)} |"


def row(name: str, face: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    edit = [quantile(found["edit_ms"], share) for share in (0.5, 0.9, 0.99)]
    cells = [
        name,
        face,
        f"{found['first_ms']:.0f}",
        f"{statistics.median(found['full_ms'][3:]):.1f}",
        f"{statistics.median(clock):.1f}" if (clock := found.get("full_by_clock_ms")) else "",
        f"{statistics.mean(found['reached']):.0f}",
        *(f"{value:.2f}" for value in edit),
        *(f"{quantile(found['further_ms'], share):.2f}" for share in (0.5, 0.99)),
        f"{quantile(found['undo_ms'], 0.5):.2f}",
        *(f"{quantile(found['expected_ms'], share):.2f}" for share in (0.5, 0.99)),
        f"{quantile(found['ahead_ms'], 0.5):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, print, and write the page when asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--peers", default="", help="a Python with marimo, ipyflow, or both")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    native = build()
    module = ROOT / "pkg/nbrewind_wasm_bg.wasm"
    load = os.getloadavg()[0]
    rows = []
    peer_rows = []
    with tempfile.TemporaryDirectory() as folder:
        for notebook in notebooks.all_notebooks(arguments.edits):
            file = Path(folder) / f"{notebook['name']}.json"
            file.write_text(json.dumps(notebook), encoding="utf-8")
            faces: list[tuple[str, list[str | Path]]] = [("native", [native])]
            if module.exists():
                faces.append(("WASM", ["node", ROOT / "bench/analysis/wasm.mjs"]))
            for face, command in faces:
                found = measure(command, file)
                rows.append(row(notebook["name"], face, found))
                peer_rows.append(peer_row(notebook["name"], f"NBRewind, {face}", found))
                print(rows[-1], flush=True)
            for which in ("marimo", "ipyflow") if arguments.peers else ():
                if peers := peer(arguments.peers, which, file):
                    peer_rows.append(peer_row(notebook["name"], which, peers))
                    print(peer_rows[-1], flush=True)
    size = module.read_bytes() if module.exists() else b""
    lines = [
        "| notebook | | first ms | full ms | by the clock | cells reached | edit p50 ms | p90 | p99 "
        "| typed on p50 | p99 | undo p50 | expected p50 | p99 | ahead p50 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"The module: {len(size) / 1000:.0f} KB, {len(gzip.compress(size, 9)) / 1000:.0f} KB with gzip.",
        "",
        *(PEERS_HEAD + peer_rows + [""] if arguments.peers else []),
        f"{os.cpu_count()} cores, load {load:.1f} before the first round, {date.today()}.",
    ]
    print("\n".join(lines))
    if arguments.write:
        page = ROOT / "docs/bench/analysis.md"
        head, _, _ = page.read_text(encoding="utf-8").partition("<!-- measured -->")
        text = head + "<!-- measured -->\n\n" + "\n".join(lines) + "\n"
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
