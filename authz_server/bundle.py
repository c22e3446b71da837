"""The bundle: what was learned, on disk. `write_bundle` publishes it, `load_bundle` reads it, `BundleDirectory` follows it.

    DIR/current                         a file with one word: the revision in force
    DIR/revisions/<revision>/manifest.json
    DIR/revisions/<revision>/workloads/<file>.json
    DIR/revisions/<revision>/workloads/<file>.description.json     facts for people, which the server doesn't read

A revision's directory never changes once it is there, and `current` is replaced as a whole, so a reader sees the old bundle or
the new one. `current` is a file and not a symlink, because it must survive object storage, ConfigMaps and Windows shares. A
directory that holds `manifest.json` itself (one revision, copied or mounted) is read as well. Every file's digest is checked,
nothing can execute.
"""

import contextlib
import gc
import hashlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.errors import BundleError, cut
from authz_server.engine.model import (
    SCHEMA_VERSION,
    Manifest,
    ReadyModel,
    WorkloadEntry,
    WorkloadModel,
    decode_model,
    encode_model,
)
from authz_server.key_id import show_key_id
from authz_server.log import StateLog
from authz_server.place import Place, is_safe, open_place

__all__ = [
    "KEPT_REVISIONS",
    "Bundle",
    "BundleDirectory",
    "load_bundle",
    "read_description",
    "revisions",
    "write_bundle",
]

KEPT_REVISIONS: Final = 5
"""Revisions kept, the one in force among them: writing another one's name into `current` goes back to it."""
MAX_MANIFEST_BYTES: Final = 16 * 2**20
MAX_MODEL_BYTES: Final = 64 * 2**20
MAX_WORKLOADS: Final = 10_000
_MAX_REVISION_BYTES: Final = 200
_STALE_SECONDS: Final = 3600.0
_RETRY_POLLS: Final = 10
"""A bad bundle that hasn't changed is tried again every so many polls: a synced directory may still be filling up."""

_REVISION = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_encode = msgspec.json.Encoder(order="sorted").encode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


class Bundle(msgspec.Struct, frozen=True):
    """What is in force: models by workload, of one revision. Without arguments: the empty one, nothing learned yet."""

    revision: str = ""
    models: dict[str, ReadyModel] = {}
    manifest: Manifest | None = None


class _Version(msgspec.Struct):
    schema_version: int = 0


def load_bundle(place: str | Path, key_id: str | None, workloads: Collection[str] = (), previous: Bundle | None = None) -> Bundle:
    """Read the bundle in force; the empty Bundle where nothing was published. Raises BundleError with every problem.

    `key_id` is our hash key's; None: any will do, nothing is judged with it. `workloads`: only these, empty: all; one that the
    bundle lacks simply has no model yet. Models that `previous` has with the same digest are taken over from it, not decoded
    again.
    """
    return _in_force(open_place(place), key_id, workloads, previous or Bundle())


def _in_force(place: Place, key_id: str | None, workloads: Collection[str], previous: Bundle) -> Bundle:
    try:
        prefix = _prefix(place)
        data = place.read(f"{prefix}manifest.json", MAX_MANIFEST_BYTES)
        if data is None and not prefix:
            return Bundle()
        return _load(place, prefix, data, key_id, workloads, previous)
    except BundleError as error:
        raise BundleError(*[f"{place}: {problem}" for problem in error.problems]) from error


def _prefix(place: Place) -> str:
    """Find the revision in force: `revisions/<revision>/`, or nothing where the place holds a bundle itself (or none)."""
    pointer = place.read("current", _MAX_REVISION_BYTES)
    if pointer is None:
        return ""
    revision = pointer.decode("utf-8", "replace").strip()
    if not _REVISION.match(revision):
        raise BundleError(f"current: expected a revision, got {cut(revision)!r}")
    return f"revisions/{revision}/"


def _load(
    place: Place, prefix: str, data: bytes | None, key_id: str | None, workloads: Collection[str], previous: Bundle
) -> Bundle:
    manifest = _manifest(data, f"{prefix}manifest.json")
    problems = list(_wrong(manifest, prefix, key_id))
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


def _manifest(data: bytes | None, name: str) -> Manifest:
    if data is None:
        raise BundleError(f"{name}: expected a manifest, got no file")
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            whose = "train again, or use an older server" if version < SCHEMA_VERSION else "use a newer server"
            raise BundleError(f"{name}: expected schema version {SCHEMA_VERSION}, got {version}: {whose}")
        return _decode_manifest(data)
    except msgspec.DecodeError as error:
        raise BundleError(f"{name}: expected a manifest of schema version {SCHEMA_VERSION}: {cut(error)}") from error


def _wrong(manifest: Manifest, prefix: str, key_id: str | None) -> Iterable[str]:
    if key_id is not None and manifest.key_id != key_id:
        yield (
            f"expected a bundle learned under our hash key ({show_key_id(key_id)}), got one under {show_key_id(manifest.key_id)}:"
            " set AUTHZ_HASH_KEY and TRAINER_HASH_KEY to the key that it was learned under, or name another place for the bundle,"
            " which may be empty, until one is trained under the new key"
        )
    named = prefix.removeprefix("revisions/").rstrip("/")
    if named and named != manifest.revision:
        yield f"{prefix}manifest.json: expected revision {named}, got {cut(manifest.revision)!r}"
    elif manifest.revision != _revision(manifest):
        yield f"manifest.json: expected revision {_revision(manifest)}, as its contents say, got {cut(manifest.revision)!r}"
    if len(manifest.workloads) > MAX_WORKLOADS:
        yield f"manifest.json: expected at most {MAX_WORKLOADS:,} workloads, got {len(manifest.workloads):,}"
    for name, entry in manifest.workloads.items():
        for file in (entry.file, entry.description) if entry.description else (entry.file,):
            if not is_safe(file):
                yield f"manifest.json: workload {cut(name)}: expected a file inside the bundle, got {cut(file)!r}"


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
    prefix = f"revisions/{bundle.revision}/" if _prefix(opened) else ""
    return _checked(opened, prefix, entry.description, entry.description_sha256, workload)


def _checked(place: Place, prefix: str, file: str, sha256: str, workload: str) -> bytes:
    data = place.read(prefix + file, MAX_MODEL_BYTES)
    if data is None:
        raise BundleError(f"{file}: expected the model of {cut(workload)}, got no file")
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise BundleError(f"{file}: expected SHA-256 {cut(sha256)}, got {digest}: damaged or half copied")
    return data


def _model(place: Place, prefix: str, name: str, entry: WorkloadEntry) -> WorkloadModel:
    data = _checked(place, prefix, entry.file, entry.sha256, name)
    try:
        model = decode_model(data)
    except BundleError as error:
        raise BundleError(*[f"{entry.file}: {cut(problem)}" for problem in error.problems]) from error
    if model.workload != name:
        raise BundleError(f"{entry.file}: expected the model of {cut(name)}, got that of {cut(model.workload)!r}")
    return model


def _revision(manifest: Manifest) -> str:
    """Name a manifest by its contents, without the time it was made: the same learning gives the same revision."""
    contents = msgspec.structs.replace(manifest, revision="", created=0.0)
    return hashlib.sha256(_encode(contents)).hexdigest()[:16]


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
    target = f"revisions/{manifest.revision}"
    existing = _existing(opened, f"{target}/", key_id)
    if existing is not None:
        manifest = existing
    else:
        opened.remove(target)
        opened.add(target, files)
    opened.write("current", manifest.revision.encode() + b"\n")
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
    manifest = Manifest(SCHEMA_VERSION, "", created, calls, key_id, entries)
    manifest = msgspec.structs.replace(manifest, revision=_revision(manifest))
    files["manifest.json"] = msgspec.json.format(_encode(manifest), indent=1) + b"\n"
    return manifest, files


def _file_name(workload: str) -> str:
    """Make a readable file name of any workload's, unlike that of any other."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", workload).strip("-")[:80]
    return f"workloads/{readable or 'workload'}-{hashlib.sha256(workload.encode()).hexdigest()[:8]}.json"


def _existing(place: Place, prefix: str, key_id: str) -> Manifest | None:
    try:
        data = place.read(f"{prefix}manifest.json", MAX_MANIFEST_BYTES)
        return None if data is None else _load(place, prefix, data, key_id, (), Bundle()).manifest
    except BundleError:
        return None  # damaged: written anew


def revisions(place: str | Path) -> list[Manifest]:
    """List what can be put in force, the newest first; what can't be read is left out."""
    return _manifests(open_place(place))


def _manifests(place: Place) -> list[Manifest]:
    found = []
    for name in place.names("revisions"):
        try:
            if _REVISION.match(name):
                file = f"revisions/{name}/manifest.json"
                found.append(_manifest(place.read(file, MAX_MANIFEST_BYTES), file))
        except BundleError:
            continue
    return sorted(found, key=lambda manifest: (manifest.created, manifest.revision), reverse=True)


def _prune(place: Place, current: str) -> None:
    """Delete all but the newest revisions, and what a publisher that died left behind (its last hour may still be at work)."""
    old = [manifest.revision for manifest in _manifests(place) if manifest.revision != current][KEPT_REVISIONS - 1 :]
    for revision in old:
        place.remove(f"revisions/{revision}")
    place.remove_stale("revisions", time.time() - _STALE_SECONDS)


class BundleDirectory:
    """The bundle in force, `current`, and how it follows its place: `poll` is called by a Watch.

    `current` is replaced as a whole by one reference, so any thread may read it. A bad bundle, or one that vanished, keeps the
    old one; `problem` says why, empty when all is well. `failures` counts bad ones, `loaded_at` is when the one in force was
    loaded.
    """

    def __init__(
        self,
        place: str | Path | None,
        key_id: str,
        workloads: Collection[str] = (),
        on_change: Callable[[Bundle], None] | None = None,
    ) -> None:
        """Load for the first time; raises BundleError. `place` None: always the empty Bundle."""
        self.problem = ""
        self.failures = 0
        self.loaded_at = time.time()
        self._place = None if place is None else open_place(place)
        self._key_id = key_id
        self._workloads = frozenset(workloads)
        self._on_change = on_change
        self._log = logging.getLogger(__name__)
        self._state = StateLog(self._log, "bundle_refused", "bundle_accepted")
        self._polls_since_bad = 0
        self._seen = b"" if self._place is None else _fingerprint(self._place)
        with _collector_paused():
            self.current = Bundle() if self._place is None else _in_force(self._place, key_id, self._workloads, Bundle())

    def poll(self) -> bool:
        """Look at the place; return whether the bundle was replaced. Never raises BundleError."""
        if self._place is None:
            return False
        try:
            seen = _fingerprint(self._place)
            if seen == self._seen and not self._due():
                return False
            self._seen = seen
            with _collector_paused():
                bundle = _in_force(self._place, self._key_id, self._workloads, self.current)
        except BundleError as error:
            self._refuse(error)
            return False
        if not bundle.revision and self.current.revision:
            self._refuse(BundleError(f"{self._place}: expected a bundle, got none any more"))
            return False
        changed = bundle.revision != self.current.revision
        if changed:
            self.current = bundle
            self.loaded_at = time.time()
            if self._on_change is not None:
                self._on_change(bundle)
        self.problem = ""
        if not self._state.good(revision=bundle.revision) and changed:
            self._log.info("bundle_loaded", extra={"fields": {"revision": bundle.revision, "workloads": len(bundle.models)}})
        return changed

    def _due(self) -> bool:
        self._polls_since_bad += 1
        return bool(self.problem) and self._polls_since_bad >= _RETRY_POLLS

    def _refuse(self, error: BundleError) -> None:
        self._polls_since_bad = 0
        problem = str(error)
        if problem != self.problem:
            self.failures += 1
            self.problem = problem
        self._state.bad(problem, problems=error.problems[:20], in_force=self.current.revision)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking through the models that are being loaded, and later.

    They have no cycles, so reference counting frees them when they are replaced. Loading 9,600 parameters (7.4 MB, 64 MB decoded)
    in a second thread made a busy one wait up to 640 ms at a time, without the collector 10 to 40 ms (2026-11).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _fingerprint(place: Place) -> bytes:
    """Read what tells one bundle from the next: the pointer, else the manifest (its digests name everything else)."""
    pointer = place.read("current", _MAX_REVISION_BYTES)
    if pointer is not None:
        return b"current " + pointer
    return hashlib.sha256(place.read("manifest.json", MAX_MANIFEST_BYTES) or b"").digest()
