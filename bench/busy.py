"""A bundle of the same service, so many times as busy: what is normal of paces is multiplied, everything else stays.

The bench sends calls as fast as they are answered, thousands of times faster than the people it learned from. To what was learned
that is a flood: each call would be judged abnormal and told of in the decision log. What a normal call costs is measured with
this bundle; it is counted and held against limits like any other.
"""

import time
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle import load_bundle, write_bundle
from authz_server.engine.volume import Level, Normal, Tail, VolumeModel

__all__ = ["write_busy"]

_TIMES: Final = 1e5


def write_busy(place: Path, busy: Path, key_id: str) -> None:
    """Write the bundle in force at `place` to `busy`, as of a service `_TIMES` as busy."""
    models = [ready.model for ready in load_bundle(place, key_id).models.values()]
    scaled = [msgspec.structs.replace(model, volume=_volume(model.volume) if model.volume else None) for model in models]
    write_bundle(busy, scaled, time.time(), key_id)


def _volume(model: VolumeModel) -> VolumeModel:
    return msgspec.structs.replace(
        model,
        sessions=_normal(model.sessions) if model.sessions else None,
        addresses=_normal(model.addresses) if model.addresses else None,
        workload=_normal(model.workload) if model.workload else None,
        own={key: _normal(normal) for key, normal in model.own.items()},
    )


def _normal(normal: Normal) -> Normal:
    return msgspec.structs.replace(normal, tails=tuple([_tail(tail) for tail in normal.tails]))


def _tail(tail: Tail) -> Tail:
    return msgspec.structs.replace(tail, levels=tuple([Level(level.count * _TIMES, level.share) for level in tail.levels]))
