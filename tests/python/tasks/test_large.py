"""What a graph weighs when Dask sends it is worked out without making what is sent."""

from __future__ import annotations

import subprocess
import sys

WEIGH = """
import tracemalloc
import dask, numpy as np, pandas as pd
import dask.array as da, dask.dataframe as dd
import distributed
from dask.base import collections_to_expr
from distributed.protocol import serialize, to_serialize
from distributed.utils import nbytes
from nbrewind.tasks.engines import large

large.hook(distributed.client)

def total(array):
    return array.sum()

def nested():
    def inner(array):
        return array.sum()
    return inner

image = np.random.default_rng(1).random((1000, 1000))
tiles = [image[at : at + 100, 100:300] for at in range(0, 1000, 100)]
# What is worked out of a task stays with it, and is sent the next time.
make = lambda: {
    "of the notebook": [dask.delayed(total)(tile) for tile in tiles],
    "of a library": [dask.delayed(np.sum)(tile) for tile in tiles],
    "without a name": [dask.delayed(lambda tile: tile.max())(tile) for tile in tiles],
    "nested": [dask.delayed(nested())(image)],
    "turned": [dask.delayed(np.sum)(image.T), dask.delayed(np.sum)(image[:, ::2])],
    "array": [da.from_array(image, chunks=300)],
    "frame": [dd.from_pandas(pd.DataFrame({"a": range(9000), "b": ["x"] * 9000}), npartitions=3)],
    "texts": [dask.delayed(len)("__main__" * 9000), dask.delayed(len)("__main__")],
}
for (name, found), again in zip(make().items(), make().values(), strict=True):
    expr = collections_to_expr(found).optimize()
    header, frames = serialize(to_serialize(expr), on_error="raise")
    weight = sum(map(nbytes, [header, *frames]))
    del header, frames
    expr = collections_to_expr(again).optimize()
    tracemalloc.start()
    weighed = large.weight_of(expr)
    assert weighed == weight, (name, weighed, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * weight or weight < 1_000_000, (name, peak, weight)
"""


def test_a_graph_is_weighed_without_making_what_is_sent() -> None:
    found = subprocess.run([sys.executable, "-c", WEIGH], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
