"""Starts the kernels `nbrewind-audit` and `nbrewind-repeat`: ipykernel with the extension loaded."""

from __future__ import annotations

import sys

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

from nbrewind.kernel.extension import load


def _mode(argv: list[str]) -> str:
    for argument in list(argv):
        if argument.startswith("--mode="):
            argv.remove(argument)
            return argument.removeprefix("--mode=")
    return "audit"


def main() -> None:
    """Start the kernel in the mode that its kernelspec names. The driver may configure it before the first cell."""
    mode = _mode(sys.argv)

    class Kernel(IPythonKernel):
        def start(self) -> None:
            # First, because starting answers requests on other threads: whoever asks then must find the extension.
            session = load(self.shell)
            session.default_mode = mode
            super().start()

    IPKernelApp.launch_instance(kernel_class=Kernel)


if __name__ == "__main__":
    main()
