"""What the command line takes."""

from __future__ import annotations

import argparse

from nbrewind import __version__
from nbrewind.roots import KEPT_CHECKPOINTS


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="nbrewind", description="Audit, replay and restore notebooks."
    )
    parser.add_argument("--version", action="version", version=f"nbrewind {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, text: str, *, notebook: bool = True, store: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if notebook:
            sub.add_argument("notebook", metavar="NB.ipynb")
            sub.add_argument("--kernel", help="treat the notebook as one of this kernel")
        if store:
            sub.add_argument(
                "--store",
                metavar="DIR",
                help="default: NBREWIND_STORE, else .nbrewind beside the notebook",
            )
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        return sub

    for name, text in (
        ("audit", "execute every cell and record the runs"),
        ("repeat", "replay what is unchanged, execute the rest"),
    ):
        sub = command(name, text)
        sub.add_argument(
            "-o", "--output", metavar="OUT.ipynb", help="write the notebook with its outputs here"
        )
        sub.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
        if name == "repeat":
            sub.add_argument(
                "--from",
                dest="start",
                metavar="CELL",
                help="cells before it are only brought up to date",
            )
            sub.add_argument(
                "--task-log", metavar="FILE.jsonl", help="one line for each task that was executed"
            )
            sub.add_argument(
                "--dry-run", action="store_true", help="tell what would happen, and do nothing"
            )
            sub.add_argument(
                "--shadow",
                action="store_true",
                help="execute everything and compare with the records",
            )
    sub = command("restore", "bring back the state that a cell left, in a new kernel")
    sub.add_argument("--to", required=True, metavar="CELL")
    sub.add_argument(
        "--run", type=int, metavar="N", help="the run with this number instead of the latest"
    )
    sub = command("check", "execute again and compare with the records")
    sub = command("stale", "which cells need re-execution, and why")
    sub.add_argument(
        "edited", nargs="?", metavar="B.ipynb", help="with --audited: the edited notebook"
    )
    sub.add_argument(
        "--audited", action="store_true", help="the first notebook was run top to bottom"
    )
    sub = command("why", "why a cell is stale, or why a cell or task ran again")
    sub.add_argument("subject", metavar="CELL|TASK")
    sub = command("analyze", "what every cell reads, writes and changes", store=False)
    sub = command("graph", "the dataflow graph", store=False)
    sub.add_argument("--format", choices=["svg", "mermaid", "dot", "json"], default="svg")
    sub = command("verify", "check every stored byte", notebook=False)
    sub = command("stats", "sizes and counts of the store", notebook=False)
    sub = command(
        "gc", "delete what nothing needs, and under a budget what is cheap", notebook=False
    )
    sub.add_argument(
        "--budget", metavar="SIZE", help="drop records until the store fits, e.g. 10GB"
    )
    sub.add_argument(
        "--keep",
        type=int,
        default=KEPT_CHECKPOINTS,
        metavar="N",
        help="newest checkpoints of every cell that are never dropped (default: %(default)s)",
    )
    sub.add_argument(
        "--grace",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long others who have the store open may count on what goes (default: %(default)s)",
    )
    sub.add_argument("--dry-run", action="store_true", help="tell what would go, and do nothing")
    sub = command("pin", "keep a recorded run whatever the budget", notebook=False)
    sub.add_argument("run", metavar="RUN", help="as `nbrewind ls` shows it")
    sub.add_argument("--remove", action="store_true", help="keep it no longer")
    sub = command("ls", "recorded runs", notebook=False)
    return parser
