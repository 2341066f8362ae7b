"""A kernel of this very environment, in a process of its own.

The kernel chooses its ports itself and writes them into its connection file when it has them, so that no other process
can take them first. Nothing of Jupyter is imported here: that would take as long as the kernel takes to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

# How long a kernel may take to shut down when it was asked to, and then when it was told to; as long as Jupyter waits.
_PATIENCE = 2.5
# How often we look whether the kernel is ready.
_LOOK = 0.005


class KernelProcess:
    """One kernel, from its start on. `stays`: it outlives us, and `connection_file` is where it is found."""

    def __init__(
        self, mode: str, folder: Path, *, stays: bool = False, connection_file: Path | None = None
    ) -> None:
        self.mode = mode
        self.is_taken = False
        self._own_folder: str | None = None
        if connection_file is None:
            self._own_folder = tempfile.mkdtemp(prefix="nbrewind-")
            connection_file = Path(self._own_folder) / "kernel.json"
        self.connection_file = connection_file
        self._ready = connection_file.with_suffix(".ready")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nbrewind.kernel",
                f"--mode={mode}",
                f"--ready={self._ready}",
                "--log-level=ERROR",
                "-f",
                str(connection_file),
            ],
            cwd=folder,
            env=_environment(stays=stays),
            stdin=subprocess.PIPE,
            # A kernel that stays must not hold our output open; what a kernel prints outside cells is for its log.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if stays else None,
            start_new_session=True,
        )
        # As for all kernels, there is nothing to read on its standard input.
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def is_alive(self) -> bool:
        """False once the process has ended."""
        return self.process.poll() is None

    async def channels(self) -> AsyncKernelClient | None:
        """A client of the kernel, its channels not yet started; None: the kernel died before it could be reached.

        Ports are there before anybody listens to them: what is sent there then may never be heard.
        """
        while not self._ready.exists():
            if not await self.is_alive():
                return None
            await asyncio.sleep(_LOOK)
        self._ready.unlink()
        return self._client()

    def _client(self) -> AsyncKernelClient | None:
        """A client, once the connection file is whole."""
        from jupyter_client.asynchronous.client import AsyncKernelClient

        try:
            info = json.loads(self.connection_file.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        client = AsyncKernelClient()
        client.load_connection_info(info)
        return client

    async def stop(self) -> None:
        """Let it shut down, or see to it that it does."""
        ended = self._ended()
        try:
            client = self._client()
            if client is None:
                # It is still starting.
                self._signal(signal.SIGKILL)
            elif not ended.done():
                # A cell that still runs; what is between cells ignores it.
                self._signal(signal.SIGINT)
                client.start_channels(iopub=False, stdin=False, hb=False)
                try:
                    await self._ask_to_end(client)
                    for step in (signal.SIGTERM, signal.SIGKILL):
                        if (await asyncio.wait({ended}, timeout=_PATIENCE))[0]:
                            break
                        self._signal(step)
                finally:
                    # Not before: what was sent would be lost.
                    client.stop_channels()
            await ended
        finally:
            # We may be interrupted once more.
            if not ended.done():
                self._signal(signal.SIGKILL)
            self._clean()

    async def _ask_to_end(self, client: AsyncKernelClient) -> None:
        # What it answers once the cell has ended: a kernel that is told to end before fails at its reply.
        with contextlib.suppress(queue.Empty, TimeoutError):
            await client.kernel_info(reply=True, timeout=_PATIENCE)
        client.shutdown()

    def _ended(self) -> asyncio.Future[None]:
        """Done when the process has ended."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        if self.process.poll() is not None:
            ended.set_result(None)
            return ended

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        def wait() -> None:
            self.process.wait()
            # We may have been interrupted meanwhile, and the loop closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell)

        threading.Thread(target=wait, daemon=True).start()
        return ended

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def discard(self) -> None:
        """End it if it still runs: nobody took it, or whoever did is gone."""
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()
        self._clean()

    def _clean(self) -> None:
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


def _environment(*, stays: bool) -> dict[str, str]:
    """Ours. The process id of its parent makes a kernel end when its parent does; we may run in a kernel ourselves."""
    found = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}
    return found if stays else found | {"JPY_PARENT_PID": str(os.getpid())}
