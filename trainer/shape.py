"""Which parameters a call has: its keys, sorted out once for the many calls that have the same ones."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from authz_server.engine.call import Call, Parameter

__all__ = ["Shape", "to_shape"]

_CACHED_KEYS: Final = 64
"""Calls with more parameters are sorted out each time, so that the cache is bounded."""
_CACHE_ENTRIES: Final = 2048

Picked = Callable[[Sequence[Parameter]], Sequence[Parameter]]


class Shape(NamedTuple):
    """The keys in their order; `own` picks the parameters of the endpoint itself, `shared` those that are sent everywhere alike.

    `combination`: as `engine/parameters.py` names it.
    """

    keys: tuple[str, ...]
    own: Picked
    shared: Picked
    combination: str


def to_shape(call: Call) -> Shape:
    """Sort out the keys of a call's parameters."""
    keys = tuple([parameter.key for parameter in call.parameters])
    return _cached(keys) if len(keys) <= _CACHED_KEYS else _sorted_out(keys)


def _sorted_out(keys: tuple[str, ...]) -> Shape:
    own = [index for index, key in enumerate(keys) if key[0] in "qb" or key == "header:content-type"]
    shared = [index for index, key in enumerate(keys) if key[0] in "hc" and key != "header:content-type"]
    return Shape(keys, _picking(own), _picking(shared), " ".join(sorted({key for key in keys if key[0] in "qb"})))


_cached = lru_cache(maxsize=_CACHE_ENTRIES)(_sorted_out)


def _picking(indexes: Sequence[int]) -> Picked:
    """Make what picks the items at these indexes."""
    if len(indexes) > 1:
        return itemgetter(*indexes)
    return itemgetter(slice(indexes[0], indexes[0] + 1) if indexes else slice(0))
