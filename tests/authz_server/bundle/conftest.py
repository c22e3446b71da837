from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest


@pytest.fixture(params=["directory", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "bundle")
    else:
        yield "memory://bundles/one"
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bundle"
