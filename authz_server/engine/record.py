"""What is stored of a call: one JSON line when it is decided, one when its outcome is known.

Both are flat and self-describing, so DuckDB or pandas read them without this code. A CallRecord is the Call plus what was decided
and, for imported traffic, its label; it gives the very Call back, so what is trained on is what was judged.
"""

import msgspec

from authz_server.engine.call import BodyKind, Call, Caller, Flag, Outcome, Parameter
from authz_server.engine.verdict import Verdict

__all__ = ["CallRecord", "OutcomeRecord", "encode_record", "to_call_record", "to_parsed_call", "to_undecided_record"]


class CallRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One call as stored. `id` is the decision id (or one made at import) and joins it to its OutcomeRecord.

    `path` is the masked path for people; `segments` are what is learned from. `verdict`, `mode`, `p_value`, `endpoint`: what
    was decided, empty where nothing was. `status` None: not (yet) known. `label` 1: known to be an attack, 0: known to be none.
    """

    id: str
    ts: float
    workload: str
    method: str
    path: str
    segments: tuple[Parameter, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    flags: tuple[Flag, ...] = ()
    principal: str = ""
    session: str = ""
    address: str = ""
    body: BodyKind = BodyKind.NONE
    body_size: int = 0
    request_id: str = ""
    verdict: str = ""
    mode: str = ""
    p_value: float | None = None
    endpoint: str = ""
    status: int | None = None
    resp_size: int | None = None
    duration_ms: float | None = None
    label: int | None = None
    attack: str | None = None
    split: str | None = None
    port: int = 0


class OutcomeRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How the call `id` ended.

    Where the access log had no decision id, `id` is empty and `request_id`, workload and method join it.
    """

    id: str
    ts: float
    request_id: str = ""
    workload: str = ""
    method: str = ""
    status: int = 0
    resp_size: int = 0
    duration_ms: float = 0.0
    flags: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The Outcome alone."""
        return Outcome(self.status, self.resp_size, self.duration_ms, self.flags)


_ENCODER = msgspec.json.Encoder()

_Decided = tuple[str, str, float | None, str]


def to_call_record(call: Call, verdict: Verdict) -> CallRecord:
    """Make the record of a call that was decided."""
    return _to_record(call, verdict.decision_id, (verdict.action.value, verdict.mode.value, verdict.p_value, verdict.endpoint))


def to_undecided_record(call: Call, record_id: str) -> CallRecord:
    """Make the record of a call about which nothing was decided."""
    return _to_record(call, record_id)


def _to_record(call: Call, record_id: str, decided: _Decided = ("", "", None, "")) -> CallRecord:
    return CallRecord(
        record_id,
        call.ts,
        call.workload,
        call.method,
        call.path,
        call.segments,
        call.parameters,
        call.flags,
        call.caller.principal,
        call.caller.session,
        call.caller.address,
        call.body,
        call.body_size,
        call.request_id,
        *decided,
        port=call.port,
    )


def to_parsed_call(record: CallRecord) -> Call:
    """Give back the Call that a record was made of."""
    return Call(
        record.ts,
        record.workload,
        record.method,
        record.segments,
        record.parameters,
        record.flags,
        Caller(record.principal, record.session, record.address),
        record.body,
        record.body_size,
        record.request_id,
        record.port,
    )


def encode_record(record: CallRecord | OutcomeRecord) -> bytes:
    """Write one JSON line, without the newline."""
    return _ENCODER.encode(record)
