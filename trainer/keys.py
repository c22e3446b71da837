"""Under which hash keys a store's segments were recorded, and which of them are read together: those of one key.

A value's digests under two keys never compare equal, so a bundle learned from both would take every value for a new one. In:
segments' names, or a place's manifests. Out: the segments of one key, errors that say how to go on where there are none, and
sentences about what is left out. Whoever changes the key goes on with the same store, but not with the same place for bundles.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle import revisions
from authz_server.engine.errors import BundleError, StoreError, cut
from authz_server.key_id import show_key_id
from authz_server.segment_name import SegmentKind
from trainer.plural import plural
from trainer.stored_segment import StoredSegment, list_segments

__all__ = ["KeyShare", "beside", "left_out", "need_own_place", "newest_key", "of_key", "shares"]

_SHOWN: Final = 4
"""Keys that are named; a store of more is no store of one deployment."""


class KeyShare(msgspec.Struct, frozen=True):
    """The calls of one key: how many segments, bytes as stored, when the newest was begun (UTC, yyyymmddThhmmss).

    `key_id` empty: segments whose names don't say it, since they were written before names did.
    """

    key_id: str
    segments: int
    size: int
    newest: str


def shares(segments: Iterable[StoredSegment]) -> list[KeyShare]:
    """Sum up the segments of calls by key, the key of the newest first."""
    found: dict[str, KeyShare] = {}
    for segment in segments:
        name = segment.name
        if name.kind is SegmentKind.CALLS:
            so_far = found.get(name.key_id, KeyShare(name.key_id, 0, 0, ""))
            newest = max(so_far.newest, name.opened)
            found[name.key_id] = KeyShare(name.key_id, so_far.segments + 1, so_far.size + segment.size, newest)
    return sorted(found.values(), key=lambda share: (share.newest, share.key_id), reverse=True)


def of_key(store: str | Sequence[str], key_id: str | None) -> list[StoredSegment]:
    """List the segments under one key, None: under any; raises StoreError where there are calls, but none under it."""
    segments = list_segments(store)
    return segments if key_id is None else _kept(segments, store, key_id)


def _kept(segments: Sequence[StoredSegment], store: str | Sequence[str], key_id: str) -> list[StoredSegment]:
    kept = [segment for segment in segments if segment.name.key_id == key_id]
    if not any(segment.name.kind is SegmentKind.CALLS for segment in kept):
        others = shares(segments)
        if others:
            raise StoreError(
                f"{cut(store if isinstance(store, str) else ', '.join(store))}: expected calls recorded under our hash key"
                f" ({show_key_id(key_id)}), got {_shown(others)}: {_way_out(others)}"
            )
    return kept


def left_out(store: str | Sequence[str], key_id: str) -> str:
    """Say what of a store isn't read under this key; empty: nothing. Raises StoreError as `of_key`."""
    segments = list_segments(store)
    _kept(segments, store, key_id)
    found = shares(segments)
    others = [share for share in found if share.key_id != key_id]
    if not others:
        return ""
    kept = show_key_id(key_id) if key_id else "no named key"
    newer = others[0].newest > max([share.newest for share in found if share.key_id == key_id], default=others[0].newest)
    probably = "; the newest calls are among them: is this still the server's hash key?" if newer else ""
    return f"only calls under {kept} are read, left out: {_shown(others)}{probably}"


def beside(store: str, key_id: str) -> str:
    """Say under which other keys a local store holds calls, to those who add some; empty: none, or not quickly known."""
    if not Path(store).is_dir():
        return ""
    others = [share for share in shares(list_segments(store)) if share.key_id != key_id]
    if not others:
        return ""
    return (
        f"{cut(store)} also holds {_shown(others)}, and what is added now is under {show_key_id(key_id)}: training reads only the"
        " calls under one key"
    )


def newest_key(store: str | Sequence[str]) -> str | None:
    """Tell the key of the newest calls, for those who need calls under one key and don't mind which; None: there are no calls."""
    found = shares(list_segments(store))
    return found[0].key_id if found else None


def need_own_place(out: str, key_id: str) -> None:
    """Raise BundleError where bundles under another key are published: servers that have that key wouldn't start with ours."""
    published = revisions(out)
    if published and published[0].key_id != key_id:
        raise BundleError(
            f"{cut(out)}: expected a place for bundles under our hash key ({show_key_id(key_id)}), got one that holds a bundle"
            f" under {show_key_id(published[0].key_id)}: set TRAINER_HASH_KEY to that key or, where the key was changed, name"
            " another place, to the servers too"
        )


def _shown(found: Sequence[KeyShare]) -> str:
    parts = [
        f"{plural(share.segments, 'segment')} of {share.size / 1e3:,.0f} kB"
        f" {'under ' + show_key_id(share.key_id) if share.key_id else 'that name no key'}"
        for share in found[:_SHOWN]
    ]
    return " and ".join([*parts, *([f"those of {len(found) - _SHOWN:,} other keys"] if len(found) > _SHOWN else [])])


def _way_out(found: Sequence[KeyShare]) -> str:
    ways = []
    if any(share.key_id for share in found):
        ways.append(
            "set TRAINER_HASH_KEY to the key that they were recorded under, the server's AUTHZ_HASH_KEY, or, where that was"
            " changed, first record calls under the new one"
        )
    if not all(share.key_id for share in found):
        ways.append(
            "segments that name no key were written by an earlier version: record or import those calls anew or, if it was our"
            " key, write its id behind the time in their files' names"
        )
    return "; ".join(ways)
