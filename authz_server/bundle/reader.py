"""From a place to a Bundle: its models, checked against the manifest's digests, or every problem at once."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle.manifest import folder, prefix_in_force, read_manifest, wrong
from authz_server.engine.errors import BundleError, cut
from authz_server.engine.model import Manifest, ReadyModel, WorkloadEntry, WorkloadModel, decode_model
from authz_server.place import Place, open_place

__all__ = ["MAX_MODEL_BYTES", "Bundle", "load_bundle", "load_in_force", "load_revision", "read_description"]

MAX_MODEL_BYTES: Final = 64 * 2**20


class Bundle(msgspec.Struct, frozen=True):
    """What is in force: models by workload, of one revision. Without arguments: the empty one, nothing learned yet."""

    revision: str = ""
    models: dict[str, ReadyModel] = {}
    manifest: Manifest | None = None


def load_bundle(place: str | Path, key_id: str | None, workloads: Collection[str] = (), previous: Bundle | None = None) -> Bundle:
    """Read the bundle in force; the empty Bundle where nothing was published. Raises BundleError with every problem.

    `key_id` is our hash key's; None: any will do, nothing is judged with it. `workloads`: only these, empty: all; one that the
    bundle lacks simply has no model yet. Models that `previous` has with the same digest are taken over from it, not decoded
    again.
    """
    return load_in_force(open_place(place), key_id, workloads, previous or Bundle())


def load_in_force(place: Place, key_id: str | None, workloads: Collection[str], previous: Bundle) -> Bundle:
    """Read the bundle in force at an opened place; as `load_bundle`."""
    try:
        prefix = prefix_in_force(place)
        manifest = read_manifest(place, prefix)
        if manifest is None and not prefix:
            return Bundle()
        return load_revision(place, prefix, manifest, key_id, workloads, previous)
    except BundleError as error:
        raise BundleError(*[f"{place}: {problem}" for problem in error.problems]) from error


def load_revision(
    place: Place, prefix: str, manifest: Manifest | None, key_id: str | None, workloads: Collection[str], previous: Bundle
) -> Bundle:
    """Read the models that the manifest behind a prefix describes; as `load_bundle`."""
    if manifest is None:
        raise BundleError(f"{prefix}manifest.json: expected a manifest, got no file")
    problems = list(wrong(manifest, prefix, key_id))
    if problems:
        raise BundleError(*problems)
    models = {}
    for name, entry in manifest.workloads.items():
        if workloads and name not in workloads:
            continue
        try:
            models[name] = ReadyModel(_taken_over(name, entry, previous) or _model(place, prefix, name, entry), manifest.revision)
        except BundleError as error:
            problems += error.problems
    if problems:
        raise BundleError(*problems)
    return Bundle(manifest.revision, models, manifest)


def _taken_over(name: str, entry: WorkloadEntry, previous: Bundle) -> WorkloadModel | None:
    if previous.manifest is None or name not in previous.models:
        return None
    same = previous.manifest.workloads[name].sha256 == entry.sha256
    return previous.models[name].model if same else None


def read_description(place: str | Path, bundle: Bundle, workload: str) -> bytes | None:
    """Read what the trainer described of a workload of `bundle`, loaded from this place; None: it described nothing.

    Raises BundleError where the file isn't what the manifest says.
    """
    entry = bundle.manifest.workloads[workload] if bundle.manifest is not None else None
    if entry is None or not entry.description:
        return None
    opened = open_place(place)
    prefix = f"{folder(bundle.revision)}/" if prefix_in_force(opened) else ""
    return _checked(opened, prefix, entry.description, entry.description_sha256, workload)


def _model(place: Place, prefix: str, name: str, entry: WorkloadEntry) -> WorkloadModel:
    data = _checked(place, prefix, entry.file, entry.sha256, name)
    try:
        model = decode_model(data)
    except BundleError as error:
        raise BundleError(*[f"{entry.file}: {cut(problem)}" for problem in error.problems]) from error
    if model.workload != name:
        raise BundleError(f"{entry.file}: expected the model of {cut(name)}, got that of {cut(model.workload)!r}")
    return model


def _checked(place: Place, prefix: str, file: str, sha256: str, workload: str) -> bytes:
    data = place.read(prefix + file, MAX_MODEL_BYTES)
    if data is None:
        raise BundleError(f"{file}: expected the model of {cut(workload)}, got no file")
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise BundleError(f"{file}: expected SHA-256 {cut(sha256)}, got {digest}: damaged or half copied")
    return data
