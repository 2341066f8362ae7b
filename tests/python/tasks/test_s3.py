"""Objects of S3 count by the ETag that a real server of this machine tells, and are not downloaded for it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from tests.python.tasks.session import run_session

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto is not installed")

OPTIONS = """
options = {{"endpoint_url": "{server}", "key": "testing", "secret": "testing"}}
"""
LINES = """
import dask.bag as db
result = db.read_text("s3://data/*.csv", storage_options=options).map(len).sum().compute()
"""
TABLE = """
import dask.dataframe as dd
frame = dd.read_csv("s3://data/*.csv", storage_options=options)
result = int(frame.a.sum().compute())
"""
DELAYED = """
import dask, pandas as pd
frame = dask.delayed(pd.read_csv)("s3://data/one.csv", storage_options=options)
result = int(dask.delayed(lambda frame: frame.a.sum())(frame).compute())
"""
PARQUET = """
import dask.dataframe as dd
frame = dd.read_parquet("s3://data/table", storage_options=options)
result = int(frame.a.sum().compute())
"""


class Bucket:
    """What a server has under `s3://data`, and what it was asked for."""

    def __init__(self, server: str) -> None:
        import s3fs

        self.server = server
        self.files = s3fs.S3FileSystem(endpoint_url=server, key="testing", secret="testing")

    def put(self, name: str, text: bytes) -> None:
        self.files.pipe_file(f"data/{name}", text)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = Bucket(f"http://{host}:{port}")
    # Servers of one process share what they have.
    urllib.request.urlopen(f"{found.server}/moto-api/reset", data=b"").close()
    found.files.mkdir("data")
    yield found
    server.stop()


@pytest.mark.parametrize("source", [LINES, TABLE, DELAYED])
def test_an_object_counts_by_its_etag(store, bucket, source):
    source = OPTIONS.format(server=bucket.server) + source
    bucket.put("one.csv", b"a,b\n1,2\n")
    [first] = run_session(store, source, replay=False)
    bucket.put("one.csv", b"a,b\n1,2\n")
    [same] = run_session(store, source)
    assert (same.value, same.n_run) == (first.value, 0), same
    bucket.put("one.csv", b"a,b\n3,2\n5,6\n")
    [changed] = run_session(store, source)
    assert changed.n_run > 0
    assert changed.value != first.value


def test_a_table_of_many_files_counts_by_their_etags(store, bucket):
    def put(name: str, *values: int) -> None:
        import pandas as pd

        with bucket.files.open(f"data/table/{name}.parquet", "wb") as file:
            pd.DataFrame({"a": values}).to_parquet(file)

    source = OPTIONS.format(server=bucket.server) + PARQUET
    put("one", 1, 2)
    put("two", 3)
    [first] = run_session(store, source, replay=False)
    [same] = run_session(store, source)
    assert (same.value, same.n_run) == (first.value, 0) == ("6", 0), same
    put("two", 9)
    [changed] = run_session(store, source)
    assert changed.value == "12"
    # The other file is not read again.
    assert changed.n_hit > 0, changed
