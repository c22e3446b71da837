"""Recorded calls as training reads them: parameters stay the bytes they are stored as, since most of them repeat.

What isn't asked for isn't decoded, and what is, is decoded once for all that are alike (`batch_builder.py`).
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from authz_server.engine.call import BodyKind, Flag
from authz_server.engine.record import CallRecord, encode_record

__all__ = ["NOTHING", "StoredCall", "bounded", "to_stored"]

NOTHING: Final = msgspec.Raw(b"[]")
_MOST: Final = 1 << 62

Number = TypeVar("Number", int, int | None)


class StoredCall(msgspec.Struct, frozen=True, gc=False):
    """A CallRecord without what people alone read, its path segments and parameters not decoded."""

    id: str
    ts: float
    workload: str
    method: str
    segments: msgspec.Raw = NOTHING
    parameters: tuple[msgspec.Raw, ...] = ()
    flags: tuple[Flag, ...] = ()
    principal: str = ""
    session: str = ""
    address: str = ""
    body: BodyKind = BodyKind.NONE
    body_size: int = 0
    request_id: str = ""
    verdict: str = ""
    status: int | None = None
    resp_size: int | None = None
    duration_ms: float | None = None
    label: int | None = None
    split: str | None = None
    port: int = 0


_decode = msgspec.json.Decoder(StoredCall).decode


def to_stored(records: Iterable[CallRecord]) -> Iterator[StoredCall]:
    """Give records in memory as a store would give them."""
    return (_decode(encode_record(record)) for record in records)


def bounded(column: list[Number]) -> list[Number]:
    """Cut numbers that are nonsense to what can be written; where times and sizes come from, anything may stand.

    >>> bounded([200, None]), bounded([-1 << 80]) == [-(1 << 62)]
    ([200, None], True)
    """
    if all(one is None or -_MOST <= one <= _MOST for one in set(column)):
        return column
    return [one if one is None else max(-_MOST, min(one, _MOST)) for one in column]
