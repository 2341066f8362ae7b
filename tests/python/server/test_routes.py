"""The routes as scripts use them: who may, which paths, and what each answers."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbrewind
from nbrewind.server.errors import STATUS
from nbrewind.server.routes import HANDLERS
from tests.python.books import Book
from tests.python.server.conftest import ROOT, Server

METHODS = ("get", "head", "post", "put", "patch", "delete")

ROUTES = [
    (method.upper(), re.sub(r"\(.*?\)", "00000000-0000-4000-8000-000000000000", pattern))
    for pattern, handler in HANDLERS
    for method in METHODS
    if method in vars(handler)
]


def test_every_route_is_in_the_list() -> None:
    assert len(ROUTES) == 11
    assert {method for method, _ in ROUTES} == {"GET", "POST", "DELETE"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("token", [None, "wrong"])
def test_no_route_answers_without_the_token(
    server: Server, method: str, path: str, token: str | None
) -> None:
    answer = server.ask(method, f"nbrewind/{path}", {} if method == "POST" else None, token=token)
    assert answer.status == 403
    assert answer.json["code"] == "forbidden"


@pytest.mark.parametrize(("pattern", "handler"), HANDLERS)
def test_every_route_is_authorised_as_nbrewind(pattern: str, handler: type) -> None:
    assert handler.auth_resource == "nbrewind"
    for method in METHODS:
        if method in vars(handler):
            # `authorized` inside `authenticated`, each a wrapper.
            inner = vars(handler)[method].__wrapped__
            assert inner.__qualname__ and inner.__wrapped__ is not None
            assert inner.__code__.co_filename.endswith(os.path.join("auth", "decorator.py"))


def test_status_names_the_version(server: Server) -> None:
    assert server.get("status") == {"version": nbrewind.__version__, "protocol": 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "runs", None, 400, "bad-request"),
        ("GET", "runs?path=nowhere.ipynb", None, 404, "no-notebook"),
        ("GET", "jobs/none", None, 404, "no-job"),
        ("DELETE", "jobs/none", None, 404, "no-job"),
        ("GET", "kernels/none/status", None, 404, "no-kernel"),
        ("GET", "kernels/none/log", None, 404, "no-kernel"),
        ("POST", "kernels/none/mode", {"mode": "audit"}, 404, "no-kernel"),
        ("POST", "kernels/none/mode", {"mode": "loud"}, 400, "bad-request"),
        ("POST", "kernels/none/mode", ["audit"], 400, "bad-request"),
        ("POST", "kernels/none/restore", {"path": "a.ipynb"}, 400, "bad-request"),
        ("POST", "kernels/none/restore", {"cell": "a", "number": "1"}, 400, "bad-request"),
        ("POST", "kernels/none/restore", {"cell": "a", "number": True}, 400, "bad-request"),
        ("POST", "kernels/none/restore", {"cell": "a", "path": "a.ipynb"}, 404, "no-kernel"),
        ("POST", "kernels/none/undo-restore", {}, 404, "no-kernel"),
        ("POST", "kernels/none/replay", {"path": "a.ipynb"}, 400, "bad-request"),
        ("POST", "kernels/none/replay", {"from": "a", "surprise": 1}, 400, "bad-request"),
        ("POST", "status", {}, 405, "not-allowed"),
    ],
)
def test_errors_have_a_code_and_a_status(
    server: Server, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = server.ask(method, f"nbrewind/{path}", body)
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert set(answer.json) == {"code", "message"}
    assert STATUS[code] == status


@pytest.mark.parametrize("query", ["wait=soon", "wait=nan", "wait=1&since=inf"])
def test_a_number_is_a_number(server: Server, folder: Path, kernels: list[str], query: str) -> None:
    Book(folder, {"a": "1"})
    kernel = server.start_kernel()
    body = {"path": f"{folder.name}/book.ipynb", "cell": "a"}
    job = server.post(f"kernels/{kernel}/restore", body)
    answer = server.ask("GET", f"nbrewind/jobs/{job['id']}?{query}")
    assert (answer.status, answer.json["code"]) == (400, "bad-request")
    server.wait(job)


def test_a_body_that_is_not_json_is_a_bad_request(server: Server, kernels: list[str]) -> None:
    import urllib.error
    import urllib.request

    kernel = server.start_kernel()
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/base/nbrewind/kernels/{kernel}/mode",
        b"{not json",
        {"Authorization": f"token {server.token}"},
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 400
    assert b"bad-request" in error.value.read()


# --- Paths --------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(server: Server) -> Book:
    folder = server.root.parent / "outside"
    return Book(folder, {"a": "secret = 1"})


@pytest.mark.parametrize(
    "path",
    [
        "../outside/book.ipynb",
        "..%2Foutside/book.ipynb",
        "x/../../outside/book.ipynb",
        "/../outside/book.ipynb",
        "link.ipynb",
        "linked/book.ipynb",
        "{outside}",
        "/{outside}",
        "book\0.ipynb",
        "~/book.ipynb",
    ],
)
def test_no_path_leaves_the_root(server: Server, outside: Book, path: str) -> None:
    for name, target in {"link.ipynb": outside.path, "linked": outside.folder}.items():
        link = server.root / name
        if not link.is_symlink():
            link.symlink_to(target)
    path = path.format(outside=outside.path)
    answer = server.ask("GET", "nbrewind/runs", path=path)
    assert answer.status in {400, 403, 404}
    assert "secret" not in answer.text
    kernel_free = server.ask("GET", "nbrewind/runs", path=path, cell="a")
    assert kernel_free.status == answer.status


def test_neither_do_the_routes_of_a_kernel(
    server: Server, outside: Book, kernels: list[str]
) -> None:
    kernel = server.start_kernel()
    path = "../outside/book.ipynb"
    for route, body in {
        "mode": {"mode": "audit"},
        "restore": {"cell": "a"},
        "replay": {"from": "a"},
    }.items():
        answer = server.ask("POST", f"nbrewind/kernels/{kernel}/{route}", {**body, "path": path})
        assert (answer.status, answer.json["code"]) == (403, "outside-root")


def test_hidden_files_stay_hidden(server: Server, folder: Path) -> None:
    Book(folder / ".hidden", {"a": "1"})
    answer = server.ask("GET", "nbrewind/runs", path=f"{folder.name}/.hidden/book.ipynb")
    assert answer.status == 404


def test_a_store_that_is_a_link_out_of_the_root_is_refused(
    server: Server, folder: Path, outside: Book
) -> None:
    Book(folder, {"a": "1"})
    (folder / ".nbrewind").symlink_to(outside.folder)
    answer = server.ask("GET", "nbrewind/runs", path=f"{folder.name}/book.ipynb")
    assert (answer.status, answer.json["code"]) == (403, "outside-root")


# --- Runs ---------------------------------------------------------------------------------------------------------


def test_runs_are_listed_without_a_kernel(server: Server, folder: Path) -> None:
    book = Book(folder, {"a": "x = 1", "b": "y = x + 1"})
    path = f"{folder.name}/book.ipynb"
    assert server.get("runs", path=path) == {"runs": [], "trusted": True, "why_not_trusted": None}
    book.audit()
    book.edit(b="y = x + 2")
    book.audit()
    # Another notebook in the same folder, with the same store.
    Book(folder, {"a": "z = 1"}, "other.ipynb").audit()

    runs = server.get("runs", path=path)["runs"]
    assert [(run["cell_id"], run["source"]) for run in runs] == [
        ("b", "y = x + 2"),
        ("a", "x = 1"),
        ("b", "y = x + 1"),
        ("a", "x = 1"),
    ]
    newest = runs[0]
    assert newest["status"] == "ok" and newest["replayable"] and newest["n_names"] == 2
    assert newest["n_bytes"] > 0 and newest["number"] == 2
    assert newest["started"] > runs[2]["started"] and newest["session"] != runs[2]["session"]
    only = server.get("runs", path=path, cell="b")["runs"]
    assert [run["source"] for run in only] == ["y = x + 2", "y = x + 1"]
    # Under a new name, a cell still has its runs.
    book.path.rename(folder / "renamed.ipynb")
    renamed = server.get("runs", path=f"{folder.name}/renamed.ipynb", cell="b")["runs"]
    assert renamed == only


def test_a_damaged_store_is_a_conflict(server: Server, folder: Path) -> None:
    Book(folder, {"a": "1"})
    (folder / ".nbrewind").mkdir()
    (folder / ".nbrewind" / "format.json").write_text('{"format":"nbrewind-store","version":99}')
    answer = server.ask("GET", "nbrewind/runs", path=f"{folder.name}/book.ipynb")
    assert (answer.status, answer.json["code"]) == (409, "store")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
def test_a_store_of_another_user_is_listed_but_not_loaded(
    server: Server, folder: Path, kernels: list[str]
) -> None:
    book = Book(folder, {"a": "x = 1"})
    book.audit()
    for writer in book.store.glob("writers/*"):
        os.chown(writer, 12345, 12345)
    path = f"{folder.name}/book.ipynb"
    found = server.get("runs", path=path)
    assert len(found["runs"]) == 1 and not found["trusted"]
    assert "another user" in found["why_not_trusted"]
    kernel = server.start_kernel(path=folder.name)
    for route, body in {
        "mode": {"mode": "repeat"},
        "restore": {"cell": "a"},
        "replay": {"from": "a"},
    }.items():
        answer = server.ask("POST", f"nbrewind/kernels/{kernel}/{route}", {**body, "path": path})
        assert (answer.status, answer.json["code"]) == (409, "store")
    assert (
        server.post(f"kernels/{kernel}/mode", {"mode": "off", "path": path}, 200)["mode"] == "off"
    )


# --- The room -----------------------------------------------------------------------------------------------------


def test_the_server_never_unpickles() -> None:
    for file in (ROOT / "nbrewind" / "server").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            for name in names:
                assert not re.search(r"pickle|dill|joblib|marshal|shelve", name), file.name
                assert not re.match(r"nbrewind\.(kernel|tasks|fingerprint|cli)\b", name), file.name


def test_the_server_imports_no_room_that_unpickles() -> None:
    script = (
        "import sys, nbrewind.server.routes\n"
        "print([name for name in sys.modules if name.startswith(('cloudpickle', 'nbrewind.kernel',"
        " 'nbrewind.tasks', 'nbrewind.fingerprint', 'nbrewind.cli.'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_importing_the_package_imports_no_server() -> None:
    script = (
        "import sys, nbrewind\n"
        "nbrewind._jupyter_server_extension_points(), nbrewind._jupyter_labextension_paths()\n"
        "print([name for name in sys.modules if 'jupyter' in name or 'tornado' in name])"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert time.perf_counter() - started < 10


# --- Another server -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose user may only look, with the store elsewhere."""
    folder = tmp_path_factory.mktemp("strict")
    server = Server(
        folder,
        "--ServerApp.authorizer_class=tests.python.server.authorizer.OnlyReads",
        PYTHONPATH=str(ROOT),
        NBREWIND_STORE=str(folder / "store"),
    )
    yield server
    server.stop()


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[0] != "GET"])
def test_who_may_only_look_changes_nothing(strict: Server, method: str, path: str) -> None:
    answer = strict.ask(method, f"nbrewind/{path}", {} if method == "POST" else None)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


def test_who_may_only_look_loads_nothing_into_a_kernel(strict: Server) -> None:
    kernel = strict.start_kernel()
    loaded = (
        "import sys; print('nbrewind' in sys.modules, hasattr(get_ipython(), '_nbrewind_session'))"
    )
    with strict.shell(kernel) as shell:
        for method, path in ROUTES:
            path = re.sub(r"kernels/[^/]+", f"kernels/{kernel}", path)
            answer = strict.ask(method, f"nbrewind/{path}", {} if method == "POST" else None)
            if method == "GET" and "kernels/" in path:
                assert (answer.status, answer.json["code"]) == (409, "no-extension"), path
            elif method != "GET":
                assert (answer.status, answer.json["code"]) == (403, "forbidden"), path
        assert shell.run(loaded) == "False False"
        # Where it is loaded, looking is answered and changes no mode.
        shell.run("%load_ext nbrewind")
        assert strict.get(f"kernels/{kernel}/status")["mode"] == "off"
        assert strict.get(f"kernels/{kernel}/log")["runs"] == []


def test_the_store_may_be_elsewhere(strict: Server) -> None:
    book = Book(strict.root / "here", {"a": "x = 1"})
    book.run("audit", store=strict.root.parent / "store")
    runs = strict.get("runs", path="here/book.ipynb")["runs"]
    assert [run["source"] for run in runs] == ["x = 1"]
