"""Fuzz the Check: `python tests/fuzz/check_request.py --seconds 20 --seed 1`.

Invariant: any bytes given to `Checker.check` yield a CheckResponse that parses and a Verdict, or a counted, logged error that is
answered by `failure_mode_allow`; nothing else.
"""

import argparse
import gzip
import logging
import random
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.rpc.code_pb2 import OK, PERMISSION_DENIED, UNAVAILABLE

from authz_server.afterwards import Afterwards
from authz_server.bundle import Bundle
from authz_server.check import Checker
from authz_server.decision_log import encode_line, to_line
from authz_server.engine.calibration import Calibration
from authz_server.engine.call import Call
from authz_server.engine.policy import DEFAULT_SESSION, Enforcement, Mode, Rule, SessionSource, WorkloadPolicy
from authz_server.engine.record import CallRecord, encode_record, to_call_record, to_parsed_call
from authz_server.engine.sequence import START, PrecedenceRule, SequenceModel, Transition
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.histories.memory import MemoryHistories
from tests.factories_engine import OBSERVER, WORKLOAD, endpoint_profile, parameter_profile, ready, word_profile

_CALLS: Final = msgspec.json.Decoder(CallRecord)
TARGETS: Final = (
    *(
        "/cart/7?color=red",
        "/cart/items",
        "/ship",
        "//admin/people",
        "/a%2Fb",
        "/a;b=c/..;/d",
        "/a/../b/%2e%2E/",
        "/a%252Fb",
        "\\a",
    ),
    *(
        "http://cart.example/a?b=c",
        "*",
        "",
        "?a=b",
        "/?a=b?c=d&a=e&&=&%zz=%",
        "/#x",
        "/\x00\x7f",
        "/caf\u00e9/%e9/%c0%af",
        "/" * 300,
    ),
    *(
        "/cart/" + "9" * 400,
        "/cart/9.9e999",
        "/cart/5.0e-324",
        "/?" + "a=1&" * 300,
        "/" + "a" * 9_000,
        "/{*}/%7B*%7D",
        "/\U0010ffff",
        "/graphql?query=%7Ba(b:%22c%22)%7B...D%7D%7D+fragment+D+on+E%7Bf%7D&variables=%7B%22x%22:1%7D",
        "/?query=%7B&variables=%7B",
    ),
)
BODIES: Final = (
    *(b"", b"{}", b'{"count":2}', b'{"count":-1,"note":"\' OR 1=1--"}', b'{"count":1e308,"n":5e-324,"m":-0.0}', b"[" * 50_000),
    *(
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" + b"1," * 2_000 + b"1]",
        b'{"a":"\\ud800"}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b"\xff\xfe\x00",
    ),
    *(
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
        b"--b\r\nContent-Disposition: form-data; name=f; filename=x.y\r\nContent-Type: image/png\r\n\r\n\x89P\r\n\x1a\n\r\n--b--",
        b"<?xml version='1.0' encoding='utf-8'?><s:a xmlns:s='x' b='1'><c>2</c><![CDATA[d]]>&amp;</s:a>",
        b"<!DOCTYPE a [<!ENTITY l 'lol'><!ENTITY m '&l;&l;'>]><a>&m;</a>",
        b'{"query":"query A($x:[Int!]=[1]){b:c(d:$x,e:{f:[1.5,\\"g\\",H]}){...I @j}} fragment I on K{l}","variables":{"x":[1]}}',
        b'[{"query":"{a}"},{"query":"mutation{b}"}]',
        b'{a(b:"""c"""){d}}',
        b"\0\0\0\0\x0b\x0a\x05hello\x10\xff\x01\1\0\0\0\x02\x1a\0\0\0\0\0\x0a\x0a\x08\x0a\x06\x0a\x04\x0a\x02\x08\x01",
        b"AAAAAAIIAQ==",
        gzip.compress(b'{"count":2}', mtime=0),
        zlib.compress(b"a=1"),
        gzip.compress(bytes(4 << 20), mtime=0),
    ),
    *(b"a=1&a=2&b=%E9+x", b"&=&&==", b"\0\0\0\0\x02\x08\x01", b'{"~/":{"":[[],{}]}}', b'{"count":2', b'"x"', b"7", b" {}"),
)
SNIPPETS: Final = (
    "%",
    "%2",
    "%2F",
    "%00",
    "%25",
    "/",
    "//",
    ".",
    "..;",
    ";",
    "\\",
    "?",
    "#",
    "=",
    "&",
    "+",
    "\u00e9",
    "\x01",
    "{*}",
    "@",
)
METHODS: Final = ("GET", "POST", "PROPFIND", "get", "", "G\x00T", "X" * 100)
KINDS: Final = (
    *("multipart/form-data; boundary=b", 'multipart/form-data; boundary="b', "application/soap+xml", "application/graphql"),
    *("application/grpc-web+proto", "application/grpc-web-text", "application/grpc+json", "application/x-protobuf", "text/plain"),
    *("application/x-ndjson", "image/png", "multipart/form-data"),
)
HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "content-type": (
        "application/json",
        "application/x-www-form-urlencoded",
        "application/grpc",
        "text/xml",
        ";",
        "/json",
        *KINDS,
    ),
    "content-encoding": ("", "", "gzip", "deflate", "br", "gzip,deflate", ","),
    "grpc-encoding": ("", "identity", "gzip", "snappy"),
    "cookie": ("sid=1", "a=1; a=2;;=;x", "sid=" + "y" * 500),
    "x-envoy-auth-partial-body": ("true", "false", "1"),
    "x-forwarded-for": ("1.1.1.1, 2.2.2.2", ",", ""),
    "x-request-id": ("r-1", "z" * 300),
    "authorization": ("Bearer abc",),
    "x-caf\u00e9": ("\u00e9\u0000",),
}


def _enforcement() -> Enforcement:
    session = (SessionSource(cookie="sid"), SessionSource(header="x-forwarded-for"), *DEFAULT_SESSION)
    return Enforcement(
        Rule(Mode.DRY_RUN, 1e-2),
        {
            WORKLOAD: WorkloadPolicy(mode=Mode.ENFORCE, budget=1e-2, session=session),
            "shop/closed": WorkloadPolicy(mode=Mode.ENFORCE, failure_mode_allow=False, non_http_allow=False),
            "shop/off": WorkloadPolicy(mode=Mode.OFF),
            # What no workload could be read from: answered closed, so that the answer to an error can be told from an allow.
            "": WorkloadPolicy(mode=Mode.ENFORCE, failure_mode_allow=False),
        },
    )


def _bundle() -> Bundle:
    endpoints = {
        "GET /cart/{*}": endpoint_profile(parameters={"path:1": parameter_profile(), "query:color": word_profile()}),
        "POST /cart/{*}": endpoint_profile(
            parameters={"path:1": parameter_profile(), "body:/count": parameter_profile(), "body:/note": word_profile()},
            required={"body:/count": 3.0},
        ),
        "POST /ship": endpoint_profile(),
        "GET /{*}/items": endpoint_profile(combinations=None),
    }
    sequence = SequenceModel(
        0.0,
        {"POST /ship": (PrecedenceRule("POST /cart/{*}", 3.0, 100, "GET /cart/{*}"), PrecedenceRule("POST /cart/{*}", 2.0, 100))},
        {START: Transition(100, {"GET /cart/{*}": 100}, 2.0)},
    )
    changes = {
        "sequence": sequence,
        "shared": endpoint_profile(surprises={}),
        "calibration": {"": Calibration(999, 50, (2.5, 3.0, 4.0), (30, 5, 0))},
    }
    return Bundle("r-2026", {name: ready(endpoints, **changes) for name in (WORKLOAD, "shop/off")})


class _Fault(logging.Handler):
    """Counts the events of the Check that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.events += record.getMessage() == "check_failed"


class Fuzzer:
    """Holds a Checker to the invariant, one input at a time."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self._enforcement = _enforcement()
        self._verdicts: list[tuple[Verdict, Call | None]] = []
        self._errors: list[str] = []
        self._log = _Fault()
        bundle = _bundle()
        self._checker = Checker(
            lambda: self._enforcement,
            lambda: bundle,
            OBSERVER,
            MemoryHistories(0.0),
            Afterwards(lambda: bundle, lambda: self._enforcement, lambda _: None),
            self._listen,
            self._errors.append,
        )

    def __enter__(self) -> "Fuzzer":
        log = logging.getLogger("authz_server.check")
        log.addHandler(self._log)
        log.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        log = logging.getLogger("authz_server.check")
        log.removeHandler(self._log)
        log.propagate = True

    def _listen(self, verdict: Verdict, call: Call | None, seconds: float) -> None:
        assert seconds >= 0
        self._verdicts.append((verdict, call))

    def run(self, data: bytes) -> Verdict:
        """Check one input; raises AssertionError where the invariant doesn't hold."""
        self._verdicts.clear()
        self._errors.clear()
        self._log.events = 0
        answer = CheckResponse.FromString(self._checker.check(data))
        ((verdict, call),) = self._verdicts
        failed = verdict.basis is Basis.ERROR
        assert len(self._errors) == self._log.events == int(failed), "an error is counted and logged, once, and nothing else is"
        if failed:
            rule = self._enforcement.workload(verdict.workload)
            allowed = rule.failure_mode_allow or rule.mode is not Mode.ENFORCE
            assert (verdict.action is Action.ALLOW) == allowed, "an error is answered by failure_mode_allow"
        code = (UNAVAILABLE if failed else PERMISSION_DENIED) if verdict.refused else OK
        assert answer.status.code == code
        assert answer.WhichOneof("http_response") == ("denied_response" if verdict.refused else "ok_response")
        assert answer.dynamic_metadata.fields["decision_id"].string_value == verdict.decision_id
        assert 0 < verdict.p_value <= 1
        encode_line(to_line(verdict, 0.0))
        if call is not None:
            assert to_parsed_call(_CALLS.decode(encode_record(to_call_record(call, verdict)))) == call
        self.answers[f"{verdict.basis.value} {verdict.action.value}"] += 1
        return verdict


def make_request(rng: random.Random) -> CheckRequest:
    """Put together a request out of what has broken parsers before."""
    request = CheckRequest()
    attributes = request.attributes
    attributes.destination.principal = rng.choice(
        [
            "",
            *["spiffe://td/ns/shop/sa/cart"] * 6,
            "spiffe://td/ns/shop/sa/closed",
            "spiffe://td/ns/shop/sa/off",
            "spiffe://x",
            "///",
        ]
    )
    attributes.source.principal = rng.choice(["", "spiffe://cluster.local/ns/shop/sa/web", "spiffe://" + "p" * 400])
    attributes.source.address.socket_address.address = rng.choice(["", "10.0.0.7"])
    attributes.request.time.seconds = rng.choice([0, 1_750_000_000 + rng.randrange(5_000), -1, 2**62])
    if rng.random() < 0.1:
        attributes.context_extensions["workload"] = rng.choice(["shop/cart", "shop/closed"])
    if rng.random() < 0.03:
        return request
    http: Any = attributes.request.http
    http.method, http.path = rng.choice(METHODS), _spoilt(rng.choice(TARGETS), rng)
    http.host = rng.choice(["cart.example:80", "[::1]:80", "[", ":", ""])
    http.size = rng.choice([-1, 0, 7, 2**62])
    body = rng.choice(BODIES)
    if rng.random() < 0.3:
        body = mutate(body, rng)
    if rng.random() < 0.5:
        http.raw_body = body
    else:
        http.body = body.decode("utf-8", "replace")
    chosen = {name: rng.choice(values) for name, values in HEADERS.items() if rng.random() < 0.5}
    if rng.random() < 0.7:
        http.headers.update(chosen)
    else:
        for name, value in chosen.items():
            http.header_map.headers.add(key=name, raw_value=value.encode("utf-8" if rng.random() < 0.5 else "latin-1", "replace"))
    return request


def make_normal(rng: random.Random) -> CheckRequest:
    """A call that the model knows, so that the fuzzer also sees what follows an allow."""
    request = CheckRequest()
    request.attributes.destination.principal = "spiffe://td/ns/shop/sa/cart"
    request.attributes.source.principal = "spiffe://cluster.local/ns/shop/sa/web"
    http: Any = request.attributes.request.http
    http.method, http.path = "GET", f"/cart/{rng.randrange(1, 13)}"
    http.headers["cookie"] = f"sid={rng.randrange(50)}"
    return request


def _spoilt(target: str, rng: random.Random) -> str:
    if rng.random() < 0.6:
        return target
    at = rng.randrange(len(target) + 1)
    return target[:at] + rng.choice(SNIPPETS) + target[at:]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes: flip, cut, repeat, insert."""
    mutated = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(mutated) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(mutated):
            mutated[at] = rng.randrange(256)
        elif kind == 1:
            del mutated[at : at + rng.randrange(1, 20)]
        elif kind == 2:
            mutated[at:at] = mutated[at : at + rng.randrange(1, 20)]
        else:
            mutated[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(mutated)


def make_input(rng: random.Random) -> bytes:
    """One input: mostly well-formed, some damaged, some noise."""
    chance = rng.random()
    if chance < 0.05:
        return rng.randbytes(rng.randrange(200))
    data: bytes = (make_normal(rng) if chance > 0.85 else make_request(rng)).SerializeToString()
    return mutate(data, rng) if chance < 0.2 else data


def main() -> int:
    """Fuzz for some seconds; print what was answered, or the input that broke the invariant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    end = time.monotonic() + options.seconds
    with Fuzzer() as fuzzer:
        while time.monotonic() < end:
            data = make_input(rng)
            try:
                fuzzer.run(data)
            except Exception:
                print(f"after {sum(fuzzer.answers.values()):,} inputs, seed {options.seed}: {data.hex()}", file=sys.stderr)  # noqa: T201
                raise
    total = sum(fuzzer.answers.values())
    print(f"{total:,} inputs held: {dict(fuzzer.answers.most_common())}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
