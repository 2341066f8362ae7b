"""Durable puts, unchanged puts, commits and loads of the store, beside what the disk and the hash alone can do.

    python bench/store/run.py [--folder DIR] [--mib 1024] [--rounds 5] [--write]

Every round writes with `dd` first and with the store right after, so that ratios hold on a machine whose load changes.
`--write` makes docs/bench/store.md of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_dd(folder: Path, mib: int) -> float:
    """GB/s of a direct, synced write of the same size."""
    target = folder / "dd"
    try:
        done = subprocess.run(
            ["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={mib}"]
            + ["oflag=direct", "conv=fsync"],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        target.unlink(missing_ok=True)
    seconds = float(re.search(r", ([0-9.e-]+) s,", done.stderr).group(1))  # type: ignore[union-attr]
    return (mib << 20) / 1e9 / seconds


def measure(binary: Path, folder: Path, mib: int) -> dict[str, Any]:
    """One round."""
    load = os.getloadavg()[0]
    dd = run_dd(folder, mib)
    done = subprocess.run([binary, folder, str(mib)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    found |= {"dd_gb_s": dd, "load": load}
    found["put_to_dd"] = found["put_gb_s"] / dd
    found["again_to_hash"] = found["again_s"] / found["hash_s"]
    found["changed_more_ms"] = 1e3 * (found["changed_s"] - found["again_s"])
    found["get_to_memory"] = found["get_gb_s"] / found["new_memory_gb_s"]
    return found


ROWS = (
    ("put_gb_s", "durable put of new random floats, GB/s", "2.0 where the disk gives it"),
    ("dd_gb_s", "`dd oflag=direct conv=fsync` of zeros right before, GB/s", ""),
    ("put_to_dd", "put / dd", "at least 0.75"),
    ("hash_s", "blake3 of every chunk on all cores, s", ""),
    ("again_s", "put of the same again, s", ""),
    ("again_to_hash", "again / blake3", "at most 1.15"),
    ("again_hashed_s", "put again of chunks that are hashed already, s", ""),
    (
        "changed_more_ms",
        "one byte changed in 1 % of the chunks, durable: ms more than unchanged",
        "10",
    ),
    ("commit_record_ms", "commit of one record, ms (median of 40)", "8"),
    ("commit_20kb_ms", "commit of one record and 20 kB, ms (median of 40)", "8"),
    ("small_per_s", "puts of 4 kB each per second, one commit at the end", ""),
    ("get_gb_s", "get into new memory, GB/s (best of 3)", ""),
    ("new_memory_gb_s", "touching new memory alone, GB/s (best of 2)", ""),
    ("get_to_memory", "get / new memory", "at least 0.9 of a copy"),
    ("open_ms", "open, ms", ""),
)


def table(rounds: list[dict[str, Any]]) -> str:
    """Medians, and the range over all rounds."""
    lines = ["| | median | from .. to | goal |", "|---|---|---|---|"]
    for name, text, goal in ROWS:
        values = [found[name] for found in rounds]
        shown = [f"{value:.3g}" for value in (statistics.median(values), min(values), max(values))]
        lines.append(f"| {text} | **{shown[0]}** | {shown[1]} .. {shown[2]} | {goal} |")
    return "\n".join(lines)


def machine(folder: Path, rounds: list[dict[str, Any]]) -> str:
    """What this was measured on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False
    ).stdout.strip()
    loads = [found["load"] for found in rounds]
    return (
        f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), "
        f"{platform.system()} {platform.release()}, {kind}, {rounds[0]['access'].lower()} access, "
        f"{date.today()}. Load before the rounds: {min(loads):.1f} to {max(loads):.1f}."
    )


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="on the file system to measure")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/bench/store.md")
    options = parser.parse_args()
    build = [
        "cargo",
        "build",
        "--release",
        "-q",
        "-p",
        "nbrewind-store",
        "--example",
        "store_bench",
    ]
    subprocess.run(build, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = target / "release" / "examples" / "store_bench"
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="nbrewind-bench-") as folder:
        rounds = []
        for number in range(options.rounds):
            rounds.append(measure(binary, Path(folder), options.mib))
            print(f"round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr)
        text = f"{machine(Path(folder), rounds)}\n\n{table(rounds)}\n"
    print(text)
    if options.write:
        page = ROOT / "docs" / "bench" / "store.md"
        head = page.read_text().split("<!-- measured -->")[0]
        page.write_text(f"{head}<!-- measured -->\n\n{text}")


if __name__ == "__main__":
    main()
