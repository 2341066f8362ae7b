"""Full analyses and single edits of notebooks of fixed size, natively and in WebAssembly (node).

    python bench/analysis/run.py [--edits 1000] [--write]

`--write` makes docs/bench/analysis.md of it.
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


def row(name: str, face: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    edit = [quantile(found["edit_ms"], share) for share in (0.5, 0.9, 0.99)]
    cells = [
        name,
        face,
        f"{found['first_ms']:.0f}",
        f"{statistics.median(found['full_ms'][3:]):.1f}",
        f"{statistics.mean(found['reached']):.0f}",
        *(f"{value:.2f}" for value in edit),
        f"{quantile(found['undo_ms'], 0.5):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, print, and write the page when asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    native = build()
    module = ROOT / "pkg/nbrewind_wasm_bg.wasm"
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for notebook in notebooks.all_notebooks(arguments.edits):
            file = Path(folder) / f"{notebook['name']}.json"
            file.write_text(json.dumps(notebook), encoding="utf-8")
            faces: list[tuple[str, list[str | Path]]] = [("native", [native])]
            if module.exists():
                faces.append(("WASM", ["node", ROOT / "bench/analysis/wasm.mjs"]))
            for face, command in faces:
                rows.append(row(notebook["name"], face, measure(command, file)))
                print(rows[-1], flush=True)
    size = module.read_bytes() if module.exists() else b""
    lines = [
        "| notebook | | first ms | full ms | cells reached | edit p50 ms | p90 | p99 | undo p50 |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"The module: {len(size) / 1000:.0f} KB, {len(gzip.compress(size, 9)) / 1000:.0f} KB with gzip.",
        "",
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
