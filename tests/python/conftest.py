"""What several rooms of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.python.generated.check import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Processes to fork kernels from: started when they are first needed, once for all tests of a worker."""
    with Lab(tmp_path_factory.mktemp("lab")) as found:
        yield found
