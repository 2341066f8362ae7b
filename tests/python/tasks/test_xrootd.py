"""Files of an XRootD server of this machine count by their checksums, and are not downloaded for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.python.tasks.session import run_session

pytest.importorskip("fsspec_xrootd", reason="fsspec-xrootd is not installed")
pytestmark = pytest.mark.skipif(shutil.which("xrootd") is None, reason="not installed: xrootd")

LINES = """
import dask.bag as db
result = db.read_text("{url}").map(len).sum().compute()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that a server offers, and its address."""
    place, files = tmp_path / "server", tmp_path / "files"
    place.mkdir()
    files.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "server.cfg").write_text(
        f"all.export {files}\nxrd.port {port}\nxrootd.chksum adler32\n"
        f"all.adminpath {place}\nall.pidpath {place}\n"
    )
    user: list[str] = []
    if os.getuid() == 0:
        # It does not run as root.
        user = ["-R", "nobody"]
        for one in (place, files):
            one.chmod(0o777)
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o755)
        tmp_path.chmod(0o755)
    server = subprocess.Popen(
        ["xrootd", "-c", str(place / "server.cfg"), *user, "-l", str(place / "log")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield files, f"root://127.0.0.1:{port}/{files}"
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while True:
        assert server.poll() is None, "the server has ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except ConnectionRefusedError:
            continue
        return


def test_a_file_counts_by_its_checksum(store, folder):
    files, url = folder
    source = LINES.format(url=f"{url}/one.txt")
    (files / "one.txt").write_text("abc\nde\n")
    [first] = run_session(store, source, replay=False)
    [same] = run_session(store, source)
    assert (same.value, same.n_run) == (first.value, 0) == ("7", 0), same
    (files / "one.txt").write_text("abc\nde\nf\n")
    [changed] = run_session(store, source)
    assert changed.value == "9", changed


def test_a_change_that_leaves_the_checksum_as_it_is_counts(store, folder):
    files, url = folder
    source = f"""
import dask.bag as db
result = db.read_text("{url}/one.txt").map(int).sum().compute()
"""
    (files / "one.txt").write_text("131")
    [first] = run_session(store, source, replay=False)
    before = (files / "one.txt").stat()
    (files / "one.txt").write_text("212")
    os.utime(files / "one.txt", (before.st_atime, before.st_mtime + 2))
    [changed] = run_session(store, source)
    assert (first.value, changed.value) == ("131", "212")
