"""Factories for the tests of the engine and of the fitting code: valid by default, overriding only what the test is about."""

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from authz_server.engine.calibration import Calibration
from authz_server.engine.call import Call, Flag, Kind, Parameter
from authz_server.engine.canonical import RawCall, to_call
from authz_server.engine.decide import Judgement, decide
from authz_server.engine.edges import EdgeModel
from authz_server.engine.finding import FindingCode, Surprise
from authz_server.engine.history import Past
from authz_server.engine.model import ReadyModel, WorkloadModel
from authz_server.engine.observe import Observer
from authz_server.engine.pace import METERS
from authz_server.engine.policy import SessionSource
from authz_server.engine.profile import EndpointProfile, Interval, ParameterProfile
from authz_server.engine.record import CallRecord
from authz_server.engine.sequence import SequenceModel
from authz_server.engine.volume import Level, Normal, Tail

OBSERVER = Observer("a hash key of the tests")
WORKLOAD = "shop/cart"
PRINCIPAL = "cluster.local/ns/shop/sa/web"
NOON = 1_750_000_000.0
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

CODES = (
    *(FindingCode.TYPE, FindingCode.VALUE, FindingCode.RANGE, FindingCode.LENGTH, FindingCode.CHARACTERS, FindingCode.STRUCTURE),
    *(FindingCode.UNKNOWN_PARAMETER, FindingCode.UNKNOWN_COMBINATION, FindingCode.REQUEST_FORM, FindingCode.BODY_KIND),
)
SURPRISES = dict.fromkeys(CODES, 3.0)


def raw_call(method: str = "GET", target: str = "/cart/items", **changes: Any) -> RawCall:
    values: dict[str, Any] = {
        "ts": NOON,
        "headers": {},
        "source": f"spiffe://{PRINCIPAL}",
        "address": "10.0.0.7",
        "workload": WORKLOAD,
        "request_id": "r-1",
    }
    return RawCall(method=method, target=target, **{**values, **changes})


def call(method: str = "GET", target: str = "/cart/items", *, sources: Sequence[SessionSource] = (), **changes: Any) -> Call:
    return to_call(raw_call(method, target, **changes), OBSERVER, sources)


def json_call(target: str, body: bytes, **changes: Any) -> Call:
    return call("POST", target, headers=JSON, body=body, body_size=len(body), **changes)


def segments(path: str) -> tuple[Parameter, ...]:
    return call("GET", path).segments


def flags(target: str) -> set[Flag]:
    return set(call("GET", target).flags)


def parameter(key: str = "query:count", value: str = "7") -> Parameter:
    return OBSERVER.text(key, value)


def record(method: str = "GET", target: str = "/cart/items", *, record_id: str = "d-1", **changes: Any) -> CallRecord:
    """Make a record of a request; `changes` override fields of the RawCall where it has them, else of the CallRecord."""
    raw = {name: changes.pop(name) for name in list(changes) if name in RawCall.__struct_fields__}
    made = call(method, target, **raw)
    values: dict[str, Any] = {"status": 200}
    return CallRecord(
        record_id,
        made.ts,
        made.workload,
        made.method,
        made.path,
        made.segments,
        made.parameters,
        made.flags,
        made.caller.principal,
        made.caller.session,
        made.caller.address,
        made.body,
        made.body_size,
        made.request_id,
        port=made.port,
        **{**values, **changes},
    )


def parameter_profile(**changes: Any) -> ParameterProfile:
    """A parameter that is an integer from 1 to 12."""
    values: dict[str, Any] = {
        "n": 48_211,
        "kinds": frozenset({Kind.INTEGER}),
        "classes": 0,
        "lengths": Interval(1, 2),
        "surprises": SURPRISES,
        "numbers": Interval(1, 12),
    }
    return ParameterProfile(**{**values, **changes})


def word_profile(**changes: Any) -> ParameterProfile:
    """A parameter that is a word of lower-case letters, 1 to 20 of them."""
    values: dict[str, Any] = {
        "kinds": frozenset({Kind.WORD}),
        "classes": 1,
        "lengths": Interval(1, 20),
        "numbers": None,
        "structures": frozenset({"a"}),
    }
    return parameter_profile(**{**values, **changes})


def normal(peak: float = 64.0, **changes: Any) -> Normal:
    """The normal pace of 1,000 callers' hours, alike for all meters: at most 64, a quarter of it in the busier tenth."""
    tail = Tail((Level(peak / 4, 0.1), Level(peak, 0.002)), 0.2)
    meters = len(METERS)
    return Normal(**{"blocks": 1000, "windows": (48_211,) * meters, "tails": (tail,) * meters, "factor": 2.0, **changes})


def endpoint_profile(**changes: Any) -> EndpointProfile:
    """An endpoint without parameters."""
    values: dict[str, Any] = {
        "n": 5_000,
        "parameters": {},
        "surprises": SURPRISES,
        "combinations": frozenset({""}),
        "bodies": frozenset({call().body}),
    }
    return EndpointProfile(**{**values, **changes})


def model(endpoints: dict[str, EndpointProfile] | None = None, **changes: Any) -> WorkloadModel:
    values: dict[str, Any] = {
        "workload": WORKLOAD,
        "n": 5_000,
        "first_ts": NOON,
        "last_ts": NOON + 3600,
        "endpoints": endpoints if endpoints is not None else {"GET /cart/items": endpoint_profile()},
        "shared": endpoint_profile(surprises={FindingCode.UNKNOWN_HEADER: 2.5}),
        "sequence": SequenceModel(),
        "calibration": {"": Calibration(n=9_999)},
        "surprises": {
            FindingCode.UNKNOWN_ENDPOINT: 4.0,
            FindingCode.UNKNOWN_METHOD: 3.5,
        },
        "edges": EdgeModel(5_000, {PRINCIPAL: 5_000}, 3.0),
    }
    return WorkloadModel(**{**values, **changes})


def ready(endpoints: dict[str, EndpointProfile] | None = None, **changes: Any) -> ReadyModel:
    return ReadyModel(model(endpoints, **changes), "r-2026")


def surprise(**changes: Any) -> Surprise:
    values: dict[str, Any] = {
        "code": FindingCode.RANGE,
        "amount": 4.0,
        "key": "body:/count",
        "told": "-1",
        "usual": "an integer from 1 to 12",
        "evidence": 48_211,
    }
    return Surprise(**{**values, **changes})


def codes(found: Iterable[Surprise]) -> list[FindingCode]:
    return [item.code for item in found]


NAMES = st.text("abcdefgh_", min_size=1, max_size=4)
VALUES = st.one_of(
    st.text(max_size=12),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False).map(str),
    st.sampled_from(["red", "blue", "a-b", "x'--", "2026-01-02", ""]),
)
"""Values as a client might send them, after decoding."""


def judge(call_: Call, ready_: ReadyModel, past: Past | None = None) -> Judgement:
    return decide(call_, ready_, ready_.match(call_), past)
