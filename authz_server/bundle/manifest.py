"""A revision and its manifest. In: a place. Out: which revision is in force, which there are, what a manifest says.

Which manifest is believed is decided here: its schema version, the hash key, and that its revision names its contents.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.errors import BundleError, cut
from authz_server.engine.model import SCHEMA_VERSION, Manifest
from authz_server.key_id import show_key_id
from authz_server.place import Place, is_safe, open_place

__all__ = [
    "POINTER",
    "encode_manifest",
    "fingerprint",
    "folder",
    "prefix_in_force",
    "published",
    "read_manifest",
    "revisions",
    "sealed",
    "wrong",
]

POINTER: Final = "current"
"""The file that names the revision in force."""
MAX_MANIFEST_BYTES: Final = 16 * 2**20
MAX_WORKLOADS: Final = 10_000
_MAX_REVISION_BYTES: Final = 200

_REVISION = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Manifest).decode


class _Version(msgspec.Struct):
    schema_version: int = 0


def folder(revision: str) -> str:
    """Name the directory that a revision lies in."""
    return f"revisions/{revision}"


def prefix_in_force(place: Place) -> str:
    """Find the revision in force, `revisions/<revision>/`; empty: the place holds a bundle itself, or none."""
    pointer = place.read(POINTER, _MAX_REVISION_BYTES)
    if pointer is None:
        return ""
    revision = pointer.decode("utf-8", "replace").strip()
    if not _REVISION.match(revision):
        raise BundleError(f"{POINTER}: expected a revision, got {cut(revision)!r}")
    return f"{folder(revision)}/"


def fingerprint(place: Place) -> bytes:
    """Read what tells one bundle from the next: the pointer, else the manifest (its digests name everything else)."""
    pointer = place.read(POINTER, _MAX_REVISION_BYTES)
    if pointer is not None:
        return b"current " + pointer
    return hashlib.sha256(place.read("manifest.json", MAX_MANIFEST_BYTES) or b"").digest()


def read_manifest(place: Place, prefix: str) -> Manifest | None:
    """Read the manifest behind a prefix, None: there is none. Raises BundleError where it isn't of our schema version."""
    name = f"{prefix}manifest.json"
    data = place.read(name, MAX_MANIFEST_BYTES)
    if data is None:
        return None
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            whose = "train again, or use an older server" if version < SCHEMA_VERSION else "use a newer server"
            raise BundleError(f"{name}: expected schema version {SCHEMA_VERSION}, got {version}: {whose}")
        return _decode(data)
    except msgspec.DecodeError as error:
        raise BundleError(f"{name}: expected a manifest of schema version {SCHEMA_VERSION}: {cut(error)}") from error


def wrong(manifest: Manifest, prefix: str, key_id: str | None) -> Iterable[str]:
    """List why what the manifest behind a prefix describes can't be used under a hash key, None: under any."""
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


def sealed(manifest: Manifest) -> Manifest:
    """Name a manifest by its contents, without the time it was made: the same learning gives the same revision."""
    return msgspec.structs.replace(manifest, revision=_revision(manifest))


def _revision(manifest: Manifest) -> str:
    contents = msgspec.structs.replace(manifest, revision="", created=0.0)
    return hashlib.sha256(_encode(contents)).hexdigest()[:16]


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as people read it."""
    return msgspec.json.format(_encode(manifest), indent=1) + b"\n"


def revisions(place: str | Path) -> list[Manifest]:
    """List what can be put in force, the newest first; what can't be read is left out."""
    return published(open_place(place))


def published(place: Place) -> list[Manifest]:
    """List what was published at an opened place, as `revisions`."""
    found = []
    for name in place.names("revisions"):
        try:
            manifest = read_manifest(place, f"{folder(name)}/") if _REVISION.match(name) else None
        except BundleError:
            continue
        if manifest is not None:
            found.append(manifest)
    return sorted(found, key=lambda manifest: (manifest.created, manifest.revision), reverse=True)
