"""Starts the kernels `nbrewind-audit` and `nbrewind-repeat`: ipykernel with the extension loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

from nbrewind.kernel.extension import load


def _option(argv: list[str], name: str, default: str) -> str:
    """The value of an option that is ours and not IPython's, taken out of the arguments."""
    for argument in list(argv):
        if argument.startswith(f"--{name}="):
            argv.remove(argument)
            return argument.removeprefix(f"--{name}=")
    return default


def main() -> None:
    """Start the kernel in the mode that its kernelspec names. The driver may configure it before the first cell.

    `--ready=FILE`: the file that is made once the kernel hears what it is sent.
    """
    mode = _option(sys.argv, "mode", "audit")
    ready = _option(sys.argv, "ready", "")

    class Kernel(IPythonKernel):
        def start(self) -> None:
            # First, because starting answers requests on other threads: whoever asks then must find the extension.
            session = load(self.shell)
            session.default_mode = mode
            super().start()
            if ready:
                self.io_loop.add_callback(Path(ready).touch)

    IPKernelApp.launch_instance(kernel_class=Kernel)


if __name__ == "__main__":
    main()
