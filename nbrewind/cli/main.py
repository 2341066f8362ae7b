"""`nbrewind`: arguments in, exit code out. 0 done, 1 the notebook failed, 2 wrong arguments, 3 the store refused.

What talks to kernels takes as long to import as a kernel takes to start, so the kernel is started first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nbrewind.cli import arguments
from nbrewind.cli.process import KernelProcess

# The mode of the kernel that a command runs its notebook in. `restore` leaves its kernel behind, and starts it itself.
_MODES = {"audit": "audit", "check": "repeat", "repeat": "repeat"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        options = arguments.parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    options.started = None
    try:
        options.started = _start(options)
        from nbrewind.cli import commands

        return commands.run(options)
    except KeyboardInterrupt:
        print("nbrewind: interrupted; what was recorded before is safe", file=sys.stderr)
        return 1
    finally:
        if options.started is not None:
            options.started.discard()


def _start(options: argparse.Namespace) -> KernelProcess | None:
    """The kernel of a command that runs a notebook, if there is a file to run; None: the command says what is wrong."""
    mode = _MODES.get(options.command)
    if mode is None or not Path(options.notebook).is_file():
        return None
    return KernelProcess(mode, Path(options.notebook).resolve().parent)


if __name__ == "__main__":
    sys.exit(main())
