"""From models to a published bundle: the same models make the same revision, and few older ones stay beside it."""

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle.manifest import POINTER, encode_manifest, folder, published, read_manifest, sealed
from authz_server.bundle.reader import MAX_MODEL_BYTES, Bundle, load_revision
from authz_server.engine.errors import BundleError, cut
from authz_server.engine.model import SCHEMA_VERSION, Manifest, WorkloadEntry, WorkloadModel, encode_model
from authz_server.place import Place, open_place

__all__ = ["KEPT_REVISIONS", "write_bundle"]

KEPT_REVISIONS: Final = 5
"""Revisions kept, the one in force among them: writing another one's name into `current` goes back to it."""
_STALE_SECONDS: Final = 3600.0


def write_bundle(
    place: str | Path, models: Iterable[WorkloadModel], created: float, key_id: str, descriptions: Mapping[str, bytes] = {}
) -> Manifest:
    """Publish a bundle and put it in force; return its manifest. `created`: seconds since the epoch. Raises BundleError.

    `descriptions`: by workload, what is published beside its model and never loaded by the server.
    Deterministic but for `created`; contents published before are put in force as they are, with their first `created`.
    Of older revisions the newest stay, `KEPT_REVISIONS` in all.
    """
    opened = open_place(place)
    manifest, files = _files(models, created, key_id, descriptions)
    target = folder(manifest.revision)
    existing = _existing(opened, f"{target}/", key_id)
    if existing is not None:
        manifest = existing
    else:
        opened.remove(target)
        opened.add(target, files)
    opened.write(POINTER, manifest.revision.encode() + b"\n")
    _prune(opened, manifest.revision)
    return manifest


def _files(
    models: Iterable[WorkloadModel], created: float, key_id: str, descriptions: Mapping[str, bytes]
) -> tuple[Manifest, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    entries: dict[str, WorkloadEntry] = {}
    for model in sorted(models, key=lambda model: model.workload):
        if model.workload in entries:
            raise BundleError(f"expected one model a workload, got two of {cut(model.workload)}")
        data = encode_model(model)
        if len(data) > MAX_MODEL_BYTES:
            raise BundleError(f"{cut(model.workload)}: expected a model of at most {MAX_MODEL_BYTES:,} bytes, got {len(data):,}")
        file = _file_name(model.workload)
        files[file] = data
        entry = WorkloadEntry(file, hashlib.sha256(data).hexdigest(), model.n, len(model.endpoints))
        facts = descriptions.get(model.workload)
        if facts is not None:
            described = f"{file.removesuffix('.json')}.description.json"
            files[described] = facts
            digest = hashlib.sha256(facts).hexdigest()
            entry = msgspec.structs.replace(entry, description=described, description_sha256=digest)
        entries[model.workload] = entry
    calls = sum(entry.calls for entry in entries.values())
    manifest = sealed(Manifest(SCHEMA_VERSION, "", created, calls, key_id, entries))
    files["manifest.json"] = encode_manifest(manifest)
    return manifest, files


def _file_name(workload: str) -> str:
    """Make a readable file name of any workload's, unlike that of any other."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", workload).strip("-")[:80]
    return f"workloads/{readable or 'workload'}-{hashlib.sha256(workload.encode()).hexdigest()[:8]}.json"


def _existing(place: Place, prefix: str, key_id: str) -> Manifest | None:
    """Find the manifest of what was published before, None: it wasn't, or is damaged and must be written anew."""
    try:
        return load_revision(place, prefix, read_manifest(place, prefix), key_id, (), Bundle()).manifest
    except BundleError:
        return None


def _prune(place: Place, current: str) -> None:
    """Delete all but the newest revisions, and what a publisher that died left behind (its last hour may still be at work)."""
    old = [manifest.revision for manifest in published(place) if manifest.revision != current][KEPT_REVISIONS - 1 :]
    for revision in old:
        place.remove(folder(revision))
    place.remove_stale("revisions", time.time() - _STALE_SECONDS)
