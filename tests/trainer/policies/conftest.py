"""An API server's stand-in, and somebody who pushes to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.policies.cluster.api_server import ApiServer, api_server
from tests.trainer.policies.cluster.pushed import Pusher


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An empty one with the namespaces shop and bank."""
    with api_server() as server:
        yield server


@pytest.fixture
def pusher(api: ApiServer, tmp_path: Path) -> Pusher:
    """One who pushes there, as `ann`."""
    return Pusher(api, tmp_path)
