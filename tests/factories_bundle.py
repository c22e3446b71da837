"""Published bundles, and what is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from authz_server.bundle import load_bundle, write_bundle
from authz_server.bundle.manifest import sealed
from authz_server.engine.errors import BundleError
from authz_server.engine.model import Manifest
from tests.factories_shell import KEY_ID, workload_model

MODELS = (workload_model("shop/cart"), workload_model("shop/pay", n=7))


def publish(place: str | Path, n: int = 1000, created: float = 5.0) -> str:
    return write_bundle(place, [workload_model(n=n)], created, KEY_ID).revision


def problems_of(place: str | Path, key_id: str = KEY_ID) -> str:
    with pytest.raises(BundleError) as refused:
        load_bundle(place, key_id)
    return "\n".join(refused.value.problems)


def change_manifest(root: Path, change: Callable[[dict[str, object]], object], *, renamed: bool = False) -> None:
    """Change the manifest in force; `renamed`: as a publisher would, with the revision that its contents give."""
    path = root / "revisions" / (root / "current").read_text().strip() / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    if renamed:
        document["revision"] = sealed(msgspec.convert(document, Manifest)).revision
        path.parent.rename(path.parent.parent / str(document["revision"]))
        path = path.parent.parent / str(document["revision"]) / "manifest.json"
        (root / "current").write_text(str(document["revision"]))
    path.write_text(json.dumps(document))
