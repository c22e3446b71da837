"""The store: recorded calls in time order, joined with how they ended.

In: the segments that `authz_server/segments.py` writes, of any number of writers, in directories or at fsspec URLs. Out: decoded
calls, streamed: memory is bounded by the join window, not by the store. Writers' own order is kept; they are merged by `ts`.
Whoever compares digests asks for the calls of one hash key (`keys.py`).
"""

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec.structs import force_setattr

from authz_server.engine.errors import FormatError, StoreError, cut
from authz_server.engine.record import CallRecord, OutcomeRecord
from authz_server.segment_name import SegmentKind
from trainer.keys import of_key
from trainer.lines import read_blocks
from trainer.outcome_join import JOIN_SECONDS, OutcomeJoin
from trainer.stored_segment import StoredSegment

__all__ = ["JOIN_SECONDS", "Reading", "read_calls", "scan"]

_SHOWN_PROBLEMS: Final = 20
_MANY_WRITERS: Final = 8
_MERGED: Final = 256
"""Calls of several writers that are given at a time."""

T = TypeVar("T", bound=msgspec.Struct)

_log = logging.getLogger(__name__)


class Reading(msgspec.Struct):
    """What came up while a store was read; filled as the reading goes on."""

    calls: int = 0
    outcomes: int = 0
    joined: int = 0
    torn: int = 0
    """Last lines that a killed writer left unfinished: normal, nothing is wrong with the store."""
    corrupt: int = 0
    """Other lines that could not be read."""
    problems: list[str] = []
    """The first of them, in words."""

    def note(self, problem: str) -> None:
        """Count something that could not be read."""
        self.corrupt += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(problem)


def read_calls(
    store: str | Sequence[str],
    *,
    key_id: str | None = None,
    join_seconds: float = JOIN_SECONDS,
    reading: Reading | None = None,
) -> Iterator[CallRecord]:
    """Read all calls, as `scan`; `status` None where no outcome was found."""
    return scan(store, CallRecord, key_id=key_id, join_seconds=join_seconds, reading=reading)


def scan(
    store: str | Sequence[str],
    record_type: type[T],
    *,
    key_id: str | None = None,
    join_seconds: float = JOIN_SECONDS,
    reading: Reading | None = None,
) -> Iterator[T]:
    """Read all calls as `record_type`, a Struct with some of CallRecord's fields: `id`, `ts` and what is needed of the rest.

    With a field `status` it is joined with the outcomes: `status`, `resp_size` and `duration_ms` are set where it has them. For
    the join of outcomes without decision id it needs `request_id`, `workload` and `method`.

    `key_id`: only calls recorded under this hash key; None: under any, for those who compare no digests. `reading` counts. What
    could not be read is also a warning, at the end. Raises StoreError when a place can't be read at all, or holds calls, but none
    under this key.
    """
    fields = set(record_type.__struct_fields__)
    if not {"id", "ts"} <= fields:
        raise TypeError(f"{record_type.__name__} needs the fields id and ts")
    reading = Reading() if reading is None else reading
    segments = of_key(store, key_id)
    calls = _counted(_merge([s for s in segments if s.name.kind is SegmentKind.CALLS], record_type, reading), reading, "calls")
    outcome_segments = [s for s in segments if s.name.kind is SegmentKind.OUTCOMES]
    if "status" in fields and outcome_segments:
        outcomes = chain.from_iterable(_counted(_merge(outcome_segments, OutcomeRecord, reading), reading, "outcomes"))
        calls = _joined(calls, OutcomeJoin(outcomes, join_seconds), fields, reading)
    return chain.from_iterable(_told(calls, reading))


def _counted(blocks: Iterator[list[T]], reading: Reading, what: Literal["calls", "outcomes"]) -> Iterator[list[T]]:
    for block in blocks:
        setattr(reading, what, getattr(reading, what) + len(block))
        yield block


def _told(blocks: Iterator[list[T]], reading: Reading) -> Iterator[list[T]]:
    yield from blocks
    if reading.corrupt:
        _log.warning("store_damaged", extra={"fields": {"unread": reading.corrupt, "problems": reading.problems}})


def _joined(blocks: Iterator[list[T]], join: OutcomeJoin, fields: set[str], reading: Reading) -> Iterator[list[T]]:
    for block in blocks:
        _join(block, join, fields, reading)
        yield block


def _join(calls: list[Any], join: OutcomeJoin, fields: set[str], reading: Reading) -> None:
    by_request = {"request_id", "workload", "method"} <= fields
    sized, timed = "resp_size" in fields, "duration_ms" in fields
    for call in calls:
        if call.status is None:
            key = (call.request_id, call.workload, call.method) if by_request and call.request_id else None
            outcome = join.take(call.id, key, call.ts)
            if outcome is not None:
                reading.joined += 1
                force_setattr(call, "status", outcome.status)
                if sized:
                    force_setattr(call, "resp_size", outcome.resp_size)
                if timed:
                    force_setattr(call, "duration_ms", outcome.duration_ms)


def _merge(segments: list[StoredSegment], record_type: type[T], reading: Reading) -> Iterator[list[T]]:
    """Chain each writer's segments and merge the writers by time; some records at a time."""
    writers: dict[tuple[str, str], list[StoredSegment]] = {}
    for segment in sorted(segments, key=lambda s: (s.name.opened, s.name.seq)):
        writers.setdefault((segment.folder, segment.name.instance), []).append(segment)
    decode_lines = msgspec.json.Decoder(record_type).decode_lines
    lazily = len(writers) > _MANY_WRITERS
    streams = [_chain(of_one, decode_lines, reading, lazily=lazily) for of_one in writers.values()]
    return streams[0] if len(streams) == 1 else _blocks(heapq.merge(*map(chain.from_iterable, streams), key=attrgetter("ts")))


def _blocks(records: Iterator[T]) -> Iterator[list[T]]:
    while block := list(islice(records, _MERGED)):
        yield block


def _chain(
    segments: list[StoredSegment], decode_lines: Callable[[bytes], list[T]], reading: Reading, *, lazily: bool
) -> Iterator[list[T]]:
    """Read one writer's segments in turn.

    `lazily`: the first record by itself, and the rest when the merge has come to its time, so that a store of a thousand writers,
    each alive for an hour, is not a thousand open files.
    """
    given = None
    if lazily:
        given = next(_records(segments[0], decode_lines, Reading()), None)
        if given is not None:
            yield given[:1]
    for segment in segments:
        records = _records(segment, decode_lines, reading)
        if given is not None:
            yield next(records, [])[1:]
            given = None
        yield from records


def _records(segment: StoredSegment, decode_lines: Callable[[bytes], list[T]], reading: Reading) -> Iterator[list[T]]:
    """Read a segment in blocks of at least one record."""
    try:
        with segment.open() as stream:
            for block in read_blocks(stream, segment.path):
                try:
                    records = decode_lines(block)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    records = _line_by_line(block, decode_lines, segment, reading)
                if records:
                    yield records
    except (FormatError, StoreError) as error:
        reading.note(str(error))


def _line_by_line(block: bytes, decode_lines: Callable[[bytes], list[T]], segment: StoredSegment, reading: Reading) -> list[T]:
    """Read a block that has a bad line in it: what can be read, and a note of the rest."""
    records: list[T] = []
    for line in block.splitlines(keepends=True):
        try:
            records.extend(decode_lines(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if line.endswith(b"\n"):
                reading.note(f"{segment.path}: {error}: {cut(line[:100])}")
            else:
                reading.torn += 1
    return records
