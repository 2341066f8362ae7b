"""Remote inputs count by the version that a real server of this machine tells, and are not downloaded for it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.python.tasks.session import run_session

pytest.importorskip("aiohttp", reason="fsspec needs aiohttp for HTTP")


class Server:
    """Serves one text in place of every file."""

    def __init__(self) -> None:
        self.text = b""
        self.tag: str | None = "strong"
        # What those get who ask with the header `X-Variant`.
        self.variant: bytes | None = None
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer()

            def do_GET(self) -> None:
                self.wfile.write(self.answer())

            def answer(self) -> bytes:
                server.asked.append(self.command)
                body = server.text
                if self.headers.get("X-Variant") and server.variant is not None:
                    body = server.variant
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Accept-Ranges", "none")
                digest = hashlib.sha256(body).hexdigest()
                self.send_header("Vary", "X-Variant")
                if server.tag == "strong":
                    self.send_header("ETag", f'"{digest}"')
                elif server.tag == "weak":
                    self.send_header("ETag", f'W/"{digest}"')
                self.end_headers()
                return body

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/table.csv"


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


BAG = """
import dask.bag as db
result = db.read_text("{url}").map(len).sum().compute()
"""
FRAME = """
import dask, pandas as pd
frame = dask.delayed(pd.read_csv)("{url}")
result = int(dask.delayed(lambda frame: frame.a.sum())(frame).compute())
"""


CALL = """
import pandas as pd
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(1) as pool:
    result = int(pool.submit(pd.read_csv, "{url}").result().a.sum())
"""


@pytest.mark.parametrize(
    ("source", "values"),
    [(BAG, ("8", "14")), (FRAME, ("1", "301")), (CALL, ("1", "301"))],
    ids=["bag", "delayed", "executor"],
)
def test_a_remote_file_counts_by_its_version(store, server, source, values):
    source = source.format(url=server.url)
    server.text = b"a,b\n1,2\n"
    [first] = run_session(store, source, replay=False)
    assert first.value == values[0] and "GET" in server.asked
    server.asked.clear()
    [same] = run_session(store, source)
    assert (same.value, same.n_run) == (first.value, 0), same
    assert set(server.asked) == {"HEAD"}
    server.text = b"a,b\n1,2\n300,4\n"
    [changed] = run_session(store, source)
    assert changed.value == values[1]


def test_without_a_version_a_remote_file_is_read_again(store, server):
    source = BAG.format(url=server.url)
    server.tag, server.text = None, b"abc\n"
    run_session(store, source, replay=False)
    for tag in (None, "weak"):
        server.tag = tag
        [same] = run_session(store, source)
        assert same.n_run > 0 and any("version" in why for why in same.why), same.why


OPTIONS = 'storage_options={{"X-Variant": "b"}}'
OF_DASK = f"""
import dask, pandas as pd
frame = dask.delayed(pd.read_csv)("{{url}}", {OPTIONS})
result = int(dask.delayed(lambda frame: frame.a.sum())(frame).compute())
"""
OF_AN_EXECUTOR = f"""
import pandas as pd
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(1) as pool:
    result = int(pool.submit(pd.read_csv, "{{url}}", {OPTIONS}).result().a.sum())
"""


@pytest.mark.parametrize("source", [OF_DASK, OF_AN_EXECUTOR], ids=["delayed", "executor"])
def test_the_version_of_what_others_are_given_says_nothing(store, server, source):
    source = source.format(url=server.url)
    server.text, server.variant = b"a\n1\n", b"a\n7\n"
    [first] = run_session(store, source, replay=False)
    server.variant = b"a\n9\n"
    [changed] = run_session(store, source)
    assert (first.value, changed.value) == ("7", "9")
    assert any("version" in why for why in changed.why), changed.why


def test_an_address_inside_a_function_is_never_built_upon(store, server):
    server.text = b"abc"
    source = f"""
import dask
def fetch(n):
    from urllib.request import build_opener
    return build_opener().open("{server.url}").read()[:n]
result = dask.delayed(fetch)(3).compute()
"""
    run_session(store, source, replay=False)
    server.text = b"xyz"
    [cell] = run_session(store, source)
    assert cell.value == "b'xyz'" and any("names http" in why for why in cell.why), cell.why
