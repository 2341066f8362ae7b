from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A place for a store, with a working folder beside it."""
    return tmp_path / ".nbrewind"
