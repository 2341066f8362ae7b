"""A real Jupyter server in a process of its own, with a token, and real kernels."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

# `nbrewind` cannot be imported there.
WITHOUT = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "nbrewind":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Hide())
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""

# A kernel of another language.
ECHO = """
from ipykernel.kernelbase import Kernel
from ipykernel.kernelapp import IPKernelApp

class Echo(Kernel):
    implementation = "echo"
    implementation_version = "1"
    language_info = {"name": "echo", "mimetype": "text/plain", "file_extension": ".txt"}
    banner = "echo"

    def do_execute(self, code, silent, *args, **kwargs):
        return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}

IPKernelApp.launch_instance(kernel_class=Echo)
"""


# As older versions of ipykernel: one thread for everything.
OLD = """
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

class Old(IPythonKernel):
    _supports_kernel_subshells = False

IPKernelApp.launch_instance(kernel_class=Old)
"""


class Answer:
    """What the server answered."""

    def __init__(self, status: int, text: str, headers: Any) -> None:
        self.status = status
        self.text = text
        self.headers = headers

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Server:
    """A running server and one user of it."""

    def __init__(self, folder: Path, *options: str, **more: str) -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        specs = folder / "share" / "kernels"
        for name, code in {"without": WITHOUT, "echo": ECHO, "old": OLD}.items():
            (specs / name).mkdir(parents=True)
            argv = [sys.executable, "-c", code, "-f", "{connection_file}"]
            spec = {"argv": argv, "display_name": name, "language": "python"}
            (specs / name / "kernel.json").write_text(json.dumps(spec))
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        env = {
            **os.environ,
            "HOME": str(folder),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            # The very file that the wheel installs turns the extension on.
            "JUPYTER_CONFIG_PATH": str(ROOT / "data" / "data" / "etc" / "jupyter"),
            "JUPYTER_PATH": str(folder / "share"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        }
        env.pop("NBREWIND_STORE", None)
        env.update(more)
        self.log = (folder / "server.log").open("w+")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyter_server",
                "--no-browser",
                "--allow-root",
                "--ip=127.0.0.1",
                f"--port={self.port}",
                "--ServerApp.port_retries=0",
                "--ServerApp.base_url=/base/",
                f"--ServerApp.root_dir={self.root}",
                f"--IdentityProvider.token={self.token}",
                # The server itself refuses to start when a route says nothing about authentication.
                "--ServerApp.allow_unauthenticated_access=False",
                *options,
            ],
            env=env,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.ask("GET", "nbrewind/status").status == 200:
                    break
            except OSError:
                pass
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)

    def said(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        /,
        token: str | None = "",
        **query: Any,
    ) -> Answer:
        """One request; `token=None` sends none."""
        url = f"http://127.0.0.1:{self.port}/base/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"token {token or self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as found:
                return Answer(found.status, found.read().decode(), found.headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(), error.headers)

    def until_queued(self, kernel: str) -> None:
        """Come back when a request waits in the kernel for its cell to end."""
        deadline = time.monotonic() + 60
        while not self.get(f"kernels/{kernel}/status")["queued"]:
            assert time.monotonic() < deadline, "nothing queued"

    def get(self, path: str, /, **query: Any) -> Any:
        answer = self.ask("GET", f"nbrewind/{path}", **query)
        assert answer.status == 200, answer.text
        return answer.json

    def post(self, path: str, body: Any, status: int = 202) -> Any:
        answer = self.ask("POST", f"nbrewind/{path}", body)
        assert answer.status == status, answer.text
        return answer.json

    def start_kernel(self, name: str = "python3", path: str = "") -> str:
        answer = self.ask("POST", "api/kernels", {"name": name, "path": path})
        assert answer.status == 201, answer.text
        return str(answer.json["id"])

    def wait(self, job: dict[str, Any], *states: str) -> dict[str, Any]:
        """Follow a job until it has ended, or has one of the states."""
        states = states or ("done", "failed", "cancelled")
        deadline = time.monotonic() + 90
        while job["state"] not in {*states, "done", "failed", "cancelled"}:
            job = self.get(f"jobs/{job['id']}", wait=20, since=job["changes"])
            assert time.monotonic() < deadline, job
        assert job["state"] in states, job
        return job

    def shell(self, kernel: str) -> Shell:
        """Another client of the same kernel, as JupyterLab would be one."""
        return Shell(self, kernel)


class Shell:
    """Executes code in a kernel of the server, beside our routes, over its connection file."""

    def __init__(self, server: Server, kernel: str) -> None:
        from jupyter_client.blocking.client import BlockingKernelClient

        runtime = server.root.parent / "runtime"
        (file,) = runtime.glob(f"kernel-{kernel}.json")
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        self.client.session.session = secrets.token_hex(8)
        # A heart that has not beaten yet would count as dead.
        self.client.start_channels(hb=False)
        self.client.wait_for_ready(timeout=60)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.stop_channels()

    def send(self, code: str) -> str:
        """Execute when what was sent before has ended."""
        return str(self.client.execute(code))

    def end(self, sent: str) -> str:
        """What it printed, or the name of its error."""
        shown: list[str] = []
        while True:
            message = self.client.get_iopub_msg(timeout=90)
            if message["parent_header"].get("msg_id") != sent:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                shown.append(content["text"])
            elif message["msg_type"] == "error":
                shown.append(content["ename"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return re.sub(r"\n$", "", "".join(shown))

    def run(self, code: str) -> str:
        """What the code printed, or the name of its error."""
        return self.end(self.send(code))

    def begin(self, code: str) -> None:
        """Execute without waiting for the end."""
        sent = self.send(code)
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if (
                message["parent_header"].get("msg_id") == sent
                and message["msg_type"] == "execute_input"
            ):
                return


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def folder(server: Server, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own under the server's root."""
    name = re.sub(r"\W+", "-", request.node.name)
    folder = server.root / name
    folder.mkdir()
    return folder


@pytest.fixture
def kernels(server: Server) -> Iterator[list[str]]:
    """Kernels that a test starts are gone after it."""
    before = {kernel["id"] for kernel in server.ask("GET", "api/kernels").json}
    yield []
    for kernel in server.ask("GET", "api/kernels").json:
        if kernel["id"] not in before:
            server.ask("DELETE", f"api/kernels/{kernel['id']}")
