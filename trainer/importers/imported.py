"""What an importer makes of one line, message or entry: the request in clear, and what is known of its end and its label."""

from collections.abc import Sequence

import msgspec

from authz_server.engine.canonical import RawCall, to_call
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement, SessionSource
from authz_server.engine.record import CallRecord, to_undecided_record

__all__ = ["ImportedCall", "Sources", "Timeline", "to_record"]


class ImportedCall(msgspec.Struct, frozen=True, gc=False):
    """One request of a file, `number` its line, message or entry from 1. None: the file doesn't say."""

    number: int
    raw: RawCall
    status: int | None = None
    resp_size: int | None = None
    duration_ms: float | None = None
    label: int | None = None
    attack: str | None = None
    split: str | None = None


class Timeline:
    """Gives each call of a file a time.

    One without time gets that of the call before it; in a file without any times, its number in seconds: the order of lines is
    then the order of calls, and nothing that is learned by windows of time divides by zero.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def at(self, ts: float | None, number: int) -> float:
        """Tell the time of call `number`, in seconds since the epoch where the file has times."""
        if ts is not None:
            self._last = ts
        return float(number) if self._last is None else self._last


Sources = Sequence[SessionSource] | Enforcement
"""Where sessions are read from: the same places for every workload, or as a policy says for each."""


def to_record(imported: ImportedCall, observer: Observer, sources: Sources, call_id: str) -> CallRecord:
    """Make a record without clear values of an imported call, through the same `to_call` that serves Envoy."""
    if isinstance(sources, Enforcement):
        sources = sources.workload(imported.raw.workload).session
    call = to_call(imported.raw, observer, sources)
    return msgspec.structs.replace(
        to_undecided_record(call, call_id),
        status=imported.status,
        resp_size=imported.resp_size,
        duration_ms=imported.duration_ms,
        label=imported.label,
        attack=imported.attack,
        split=imported.split,
    )
