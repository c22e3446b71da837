"""From a RawCall to a Call: what counts as a parameter, workloads, sessions, bounds, and that no clear value gets through."""

import gzip
import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.decision_log import encode_line, to_line
from authz_server.engine.call import BodyKind, Call, Caller, Flag, Kind
from authz_server.engine.canonical import (
    _USUAL_HEADERS,
    MAX_HEADERS,
    MAX_PARAMETERS,
    _header_key,
    to_call,
    to_workload,
)
from authz_server.engine.model import ReadyModel
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Mode, Rule, SessionSource
from authz_server.engine.record import encode_record, to_call_record
from authz_server.engine.verdict import to_verdict
from tests.factories_engine import (
    FORM,
    JSON,
    NOON,
    OBSERVER,
    PRINCIPAL,
    WORKLOAD,
    call,
    endpoint_profile,
    json_call,
    judge,
    raw_call,
    ready,
)

MULTIPART = "multipart/form-data; boundary=b"


def keys(made: Call) -> list[str]:
    return [parameter.key for parameter in made.parameters]


def test_call_takes_over_who_what_and_when() -> None:
    made = call("POST", "/cart/7?color=red", headers=JSON, body=b'{"count":2}', body_size=11)
    assert (made.ts, made.workload, made.method, made.path) == (NOON, WORKLOAD, "POST", "/cart/0")
    assert keys(made) == ["query:color", "body:/count", "header:content-type"]
    assert made.caller == Caller(PRINCIPAL, "", OBSERVER.digest("10.0.0.7"))
    assert (made.body, made.body_size, made.request_id) == (BodyKind.JSON, 11, "r-1")


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        ("GET", "GET"),
        ("PROPFIND", "PROPFIND"),
        ("M-SEARCH", "M-SEARCH"),
        ("get", "!get"),
        ("", "!"),
        ("GE T\n", "!GE?T?"),
        ("X" * 33, "!" + "X" * 32),
        ("1GET", "!1GET"),
    ],
)
def test_method_that_is_none_stays_apart(method: str, shown: str) -> None:
    assert shown == call(method).method


WORKLOADS = [
    ("spiffe://cluster.local/ns/shop/sa/cart", "ignored", "ignored", "shop/cart"),
    ("cluster.local/ns/shop/sa/cart", "", "", "shop/cart"),
    ("spiffe://corp.example/team/cart", "", "", "corp.example/team/cart"),
    ("spiffe://cluster.local/ns/shop/sa/cart/extra", "", "", "cluster.local/ns/shop/sa/cart/extra"),
    ("", "shop/pay", "cart.example", "shop/pay"),
    ("", "", "Cart.Example:8080", "cart.example"),
    ("", "", "cart.example", "cart.example"),
    ("", "", "[2001:DB8::1]:8080", "2001:db8::1"),
    ("", "", "[2001:db8::1]", "2001:db8::1"),
    ("", "", "", ""),
    ("", "", "x" * 1000, "x" * 256),
]


@pytest.mark.parametrize(("principal", "context", "authority", "workload"), WORKLOADS)
def test_to_workload(principal: str, context: str, authority: str, workload: str) -> None:
    assert workload == to_workload(principal, context, authority)


SESSIONS: list[tuple[dict[str, Any], SessionSource, str]] = [
    ({"headers": {"cookie": "a=1; sid=abc"}}, SessionSource(cookie="sid"), "cookie abc"),
    ({"headers": {"cookie": "sid=abc; sid=xyz"}}, SessionSource(cookie="sid"), "cookie abc"),
    ({"headers": {"cookie": 'sid="abc"'}}, SessionSource(cookie="sid"), "cookie abc"),
    ({"headers": {"cookie": 'sid=""; sid=abc'}}, SessionSource(cookie="sid"), ""),
    ({"headers": {"cookie": 'sid="'}}, SessionSource(cookie="sid"), 'cookie "'),
    ({"headers": {"cookie": "sidx=abc"}}, SessionSource(cookie="sid"), ""),
    ({"headers": {}}, SessionSource(cookie="sid"), ""),
    ({"headers": {"x-user": "alice"}}, SessionSource(header="x-user"), "header alice"),
    ({"headers": {"x-user": ""}}, SessionSource(header="x-user"), ""),
    ({"headers": {"x-forwarded-for": "1.1.1.1, 2.2.2.2,3.3.3.3 "}}, SessionSource(header="x-forwarded-for"), "header 3.3.3.3"),
    ({"headers": {"x-forwarded-for": "3.3.3.3"}}, SessionSource(header="x-forwarded-for"), "header 3.3.3.3"),
    ({"headers": {"x-forwarded-for": "1.1.1.1,"}}, SessionSource(header="x-forwarded-for"), ""),
    ({"source": "spiffe://td/ns/a/sa/b"}, SessionSource(principal=True), "principal spiffe://td/ns/a/sa/b"),
    ({"source": ""}, SessionSource(principal=True), ""),
    ({"address": "10.1.2.3"}, SessionSource(address=True), "address 10.1.2.3"),
    ({"address": ""}, SessionSource(address=True), ""),
]


@pytest.mark.parametrize(("changes", "source", "session"), SESSIONS)
def test_session_is_read_where_the_policy_says(changes: dict[str, Any], source: SessionSource, session: str) -> None:
    assert OBSERVER.digest(session) == call(sources=(source,), **changes).caller.session


def test_sessions_of_different_sources_differ() -> None:
    cookie = call(sources=(SessionSource(cookie="sid"),), headers={"cookie": "sid=x"})
    header = call(sources=(SessionSource(header="sid"),), headers={"sid": "x"})
    assert cookie.caller.session != header.caller.session


def test_first_source_that_has_a_session_wins_and_a_known_session_beats_all() -> None:
    sources = (SessionSource(cookie="sid"), SessionSource(address=True))
    assert call(sources=sources).caller.session == OBSERVER.digest("address 10.0.0.7")
    assert call(sources=sources, headers={"cookie": "sid=x"}).caller.session == OBSERVER.digest("cookie x")
    assert call(sources=sources, session="u-1").caller.session == OBSERVER.digest("u-1")


def test_a_client_cannot_choose_its_session_through_the_front_of_x_forwarded_for() -> None:
    source = (SessionSource(header="x-forwarded-for"),)
    honest = call(sources=source, headers={"x-forwarded-for": "9.9.9.9"})
    liar = call(sources=source, headers={"x-forwarded-for": "1.2.3.4, 9.9.9.9"})
    assert honest.caller == liar.caller


@pytest.mark.parametrize(
    "name",
    [
        *(":path", ":method", ":authority", "host", "content-length", "cookie", "connection", "x-request-id", "traceparent"),
        *("x-forwarded-for", "x-forwarded-client-cert", "x-envoy-auth-partial-body", "x-envoy-anything", "x-b3-traceid"),
    ],
)
def test_transport_headers_are_no_parameters(name: str) -> None:
    assert keys(call(headers={name: "x"})) in ([], ["cookie:x"])


def test_other_headers_and_cookies_are_parameters() -> None:
    made = call(headers={"accept": "*/*", "x-audit": "no", "cookie": "theme=dark; a=1"})
    assert keys(made) == ["header:accept", "header:x-audit", "cookie:theme", "cookie:a"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("color", "query:color"),
        ("items[0][count]", "query:items[0][count]"),
        ("id12345", "query:id00000"),
        ("caf%C3%A9", "query:caf?"),
        ("caf%C3%A9%20au%20lait", "query:aaa? aa aaaa"),
        ("x" * 100, "query:" + "x" * 64),
        ("", "query:"),
        ("%7B'password':'hunter'%7D", "query:{'aaaaaaaa':'aaaaaa'}"),
        ("hunter two", "query:aaaaaa aaa"),
    ],
)
def test_parameter_names_are_bounded_and_stay_clear_only_where_somebody_wrote_them(name: str, key: str) -> None:
    assert [key] == keys(call(target=f"/?{name}=1"))


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/?a=1&a=2", {}), ("/?a=1&%61=2", {}), ("/", {"cookie": "a=1; a=2"})],
)
def test_duplicates_are_flagged(target: str, headers: dict[str, str]) -> None:
    made = call(target=target, headers=headers)
    assert (len(made.parameters), made.flags) == (2, (Flag.DUPLICATE_PARAMETER,))


def test_duplicate_form_fields_are_flagged_and_json_array_items_are_not() -> None:
    assert call("POST", "/", headers=FORM, body=b"a=1&a=2").flags == (Flag.DUPLICATE_PARAMETER,)
    assert json_call("/", b'{"a":[1,2]}').flags == ()


def test_truncated_body_is_unknown() -> None:
    made = call("POST", "/", headers=JSON, body=b'{"count":1,"na', truncated=True, body_size=5000)
    assert (made.body, keys(made), made.flags) == (BodyKind.TRUNCATED, ["header:content-type"], ())


def test_truncated_body_is_unknown_even_where_its_beginning_parses() -> None:
    assert call("POST", "/", headers=JSON, body=b'{"count":1}', truncated=True).body is BodyKind.TRUNCATED


@pytest.mark.parametrize("body", [None, b""])
def test_no_body_is_none(body: bytes | None) -> None:
    assert call("POST", "/", headers=JSON, body=body).body is BodyKind.NONE


def test_json_leaves_become_parameters_with_pointers() -> None:
    made = json_call("/", b'{"items":[{"id":1},{"id":2}],"note":null,"tags":[],"user":{}}')
    assert [(p.key, p.kind) for p in made.parameters[:-1]] == [
        ("body:/items/*/id", Kind.INTEGER),
        ("body:/items/*/id", Kind.INTEGER),
        ("body:/note", Kind.NULL),
        ("body:/tags", Kind.ARRAY),
        ("body:/user", Kind.OBJECT),
    ]


def test_a_call_without_http_has_a_caller_and_nothing_else() -> None:
    made = to_call(raw_call(http=False, target="", headers={}, port=6379), OBSERVER, (SessionSource(principal=True),))
    assert (made.flags, made.caller.principal, made.method, made.path) == ((Flag.NOT_HTTP,), PRINCIPAL, "TCP", "/6379")
    assert made.caller.session


def test_no_http_method_reads_like_a_connection() -> None:
    assert call("TCP", "/6379").method == "!TCP"


def body_keys(content_type: str, body: bytes, **headers: str) -> list[str]:
    made = call("POST", "/", headers={"content-type": content_type, **headers}, body=body)
    return [key for key in keys(made) if key.startswith("body:")]


def part(name: str, content: str) -> bytes:
    return f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'.encode()


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (MULTIPART, part("a", "1") + b"--b--", ["body:a"]),
        (MULTIPART, part("a" * 90, "1") + b"--b--", ["body:" + "a" * 64]),
        ("text/xml", b"<a x='1'><b>2</b></a>", ["body:/a/@x", "body:/a/b"]),
        ("application/grpc", b"\0\0\0\0\2\x08\x01", ["body:messages", "body:/1"]),
        ("image/png", b"\x89PNG\r\n\x1a\n", ["body:size", "body:magic"]),
    ],
)
def test_other_formats_become_parameters(content_type: str, body: bytes, expected: list[str]) -> None:
    assert expected == body_keys(content_type, body)


def test_headers_of_encodings_are_heeded() -> None:
    assert body_keys("application/json", gzip.compress(b'{"a":1}'), **{"content-encoding": "gzip"}) == ["body:/a"]
    message = gzip.compress(b"\x08\x01")
    framed = b"\1" + len(message).to_bytes(4, "big") + message
    assert body_keys("application/grpc", framed, **{"grpc-encoding": "gzip"}) == ["body:messages", "body:/1"]


def test_what_we_say_of_a_body_is_shown_and_typed() -> None:
    made = call("POST", "/", headers={"content-type": "text/plain"}, body=b"hello")
    size, magic, _ = made.parameters
    assert (size.kind, size.number, magic.kind, magic.text) == (Kind.INTEGER, 5, Kind.WORD, "text")


def test_only_a_format_that_says_types_makes_a_text_of_digits_a_string() -> None:
    graphql = json_call("/", b'{"query":"{a(x:\\"7\\", y:7)}"}')
    kinds = {parameter.key: parameter.kind for parameter in graphql.parameters}
    assert (graphql.body, kinds["body:arguments/a/x"], kinds["body:arguments/a/y"]) == (
        BodyKind.GRAPHQL,
        Kind.STRING,
        Kind.INTEGER,
    )
    assert call("POST", "/", headers={"content-type": "text/xml"}, body=b"<a>7</a>").parameters[0].kind is Kind.INTEGER
    assert (
        call("POST", "/", headers={"content-type": MULTIPART}, body=part("a", "7") + b"--b--").parameters[0].kind is Kind.INTEGER
    )


def test_duplicate_parts_are_flagged_and_repeated_elements_are_not() -> None:
    assert call("POST", "/", headers={"content-type": MULTIPART}, body=part("a", "1") * 2 + b"--b--").flags == (
        Flag.DUPLICATE_PARAMETER,
    )
    assert call("POST", "/", headers={"content-type": "text/xml"}, body=b"<a><b/><b/></a>").flags == ()


def test_graphql_in_a_query_string_is_read() -> None:
    made = call("GET", "/graphql?query=%7Buser(id:7)%7Bname%7D%7D&variables=%7B%22x%22:1%7D&b=2")
    assert (made.body, made.flags) == (BodyKind.NONE, ())
    assert [key for key in keys(made) if not key.startswith("query:operation")] == [
        *("query:fields/user", "query:fields/user/name", "query:arguments/user/id", "query:variables/x", "query:b"),
    ]
    assert keys(call("GET", "/search?query=red+%7Bshoes&variables=x")) == ["query:query", "query:variables"]


def test_headers_and_parameters_are_bounded_and_flagged() -> None:
    many = call(headers={f"x-h{chr(97 + i // 26)}{chr(97 + i % 26)}": "1" for i in range(MAX_HEADERS + 5)})
    assert (len(many.parameters), many.flags) == (MAX_HEADERS, (Flag.TOO_MANY,))
    query = "&".join(f"a{i}=1" for i in range(128))
    wide = call(
        "POST",
        "/?" + query,
        headers={**JSON, **{f"x-{chr(97 + i)}": "1" for i in range(20)}},
        body=b"[" + b"1," * 400 + b"1]",
    )
    assert len(wide.parameters) == MAX_PARAMETERS
    assert Flag.TOO_MANY in wide.flags


def test_request_id_is_bounded() -> None:
    assert call(request_id="x" * 1000).request_id == "x" * 64


TEXTS = st.text(max_size=40)


@given(
    method=TEXTS,
    target=st.one_of(TEXTS, st.text("/%.;\\?&=#2eEfF+*:a", max_size=40)),
    headers=st.dictionaries(st.sampled_from(["cookie", "content-type", "x-a", "host", "accept"]), TEXTS, max_size=4),
    body=st.none() | st.binary(max_size=60),
    kind=st.sampled_from(
        [
            *("", "application/json", "application/x-www-form-urlencoded", MULTIPART, "text/xml", "application/graphql"),
            *("application/grpc", "application/x-protobuf", "image/png"),
        ]
    ),
)
@settings(max_examples=120, deadline=None)
def test_any_request_yields_a_call_that_is_judged(
    method: str, target: str, headers: dict[str, str], body: bytes | None, kind: str
) -> None:
    if kind:
        headers = {**headers, "content-type": kind}
    made = call(method, target, headers=headers, body=body, sources=(SessionSource(cookie="sid"), SessionSource(header="x-a")))
    assert made == call(
        method, target, headers=headers, body=body, sources=(SessionSource(cookie="sid"), SessionSource(header="x-a"))
    )
    judgement = judge(made, ready())
    assert 0 < judgement.p_value <= 1
    encode_record(to_call_record(made, to_verdict(judgement, made, Rule(), "0" * 32, "r")))


# Privacy. Names and numbers are the stated exceptions (see `Parameter`); everything else that a client sends as a value must not
# be readable in what is stored or logged.

SECRET = st.from_regex(r"\A[b-zB-Z1-9][b-zB-Z1-9!' ]{3,30}[b-zB-Z]\Z")
"""No `a`, `A` or `0`, which are what masking writes, and never a number."""
STRICT = ReadyModel(
    ready({"POST /login": endpoint_profile(), "GET /cart/{*}": endpoint_profile()}).model,
    "r-2026",
)


def runs(value: str) -> list[str]:
    return [run for run in re.findall(r"[A-Za-z0-9]+", value) if len(run) >= 4]


def written(made: Call) -> str:
    verdict = to_verdict(judge(made, STRICT), made, Rule(Mode.ENFORCE, 1.0), "0" * 32, "r-2026")
    return (encode_record(to_call_record(made, verdict)) + encode_line(to_line(verdict, 0.0))).decode()


@given(
    secret=SECRET,
    place=st.sampled_from(
        [
            *("json", "deep", "form", "query", "header", "cookie", "authorization", "broken", "raw", "multipart", "file", "xml"),
            *("attribute", "graphql", "variables", "graphql query", "grpc", "gzip"),
        ]
    ),
)
@settings(max_examples=120, deadline=None)
def test_no_clear_value_is_stored_or_logged(secret: str, place: str) -> None:
    escaped = secret.replace(" ", "%20").replace("'", "%27")
    cases = {
        "json": json_call("/login", f'{{"note":"{secret}"}}'.encode()),
        "deep": json_call("/login", f'{{"user":[{{"password":"{secret}"}}]}}'.encode()),
        "form": call("POST", "/login", headers=FORM, body=f"note={secret.replace(' ', '+')}".encode()),
        "query": call("POST", f"/login?note={escaped}"),
        "header": call("POST", "/login", headers={"x-note": secret}),
        "cookie": call("POST", "/login", headers={"cookie": f"sid={secret}"}, sources=(SessionSource(cookie="sid"),)),
        "authorization": call(
            "POST", "/login", headers={"authorization": f"Bearer {secret}"}, sources=(SessionSource(header="authorization"),)
        ),
        "broken": json_call("/login", f'{{"note":"{secret}"'.encode()),
        "raw": call("POST", "/login", headers={"content-type": "text/plain"}, body=secret.encode()),
        "multipart": call("POST", "/login", headers={"content-type": MULTIPART}, body=part("note", secret) + b"--b--"),
        "file": call(
            "POST",
            "/login",
            headers={"content-type": MULTIPART},
            body=part(f'note"; filename="{secret}.{secret}', secret) + b"--b--",
        ),
        "xml": call("POST", "/login", headers={"content-type": "text/xml"}, body=f"<a><b>{secret}</b></a>".encode()),
        "attribute": call("POST", "/login", headers={"content-type": "text/xml"}, body=f'<a b="{secret}"/>'.encode()),
        "graphql": json_call("/login", json.dumps({"query": f'{{a(b: "{secret}")}}'}).encode()),
        "variables": json_call("/login", json.dumps({"query": "{a}", "variables": {"b": secret}}).encode()),
        "graphql query": call("GET", f"/login?query=%7Ba(b:%22{escaped}%22)%7D"),
        "grpc": call(
            "POST",
            "/login",
            headers={"content-type": "application/grpc"},
            body=bytes([0, 0, 0, 0, len(secret) + 2, 10, len(secret)]) + secret.encode(),
        ),
        "gzip": call(
            "POST",
            "/login",
            headers={**JSON, "content-encoding": "gzip"},
            body=gzip.compress(json.dumps({"note": secret}).encode()),
        ),
    }
    shown = written(cases[place])
    assert not [run for run in runs(secret) if run.lower() not in ALLOWED and run in shown]


ALLOWED = frozenset(
    # Words of our own that a random run of letters could spell.
    re.findall(r"[a-z]{4,}", written(call("POST", "/login", headers={"x-note": "b"})).lower())
)


def test_a_body_that_is_no_form_does_not_leak_through_the_names_of_its_fields() -> None:
    made = call("POST", "/login", headers=FORM, body=b"{'password':'hunter','note':'correct horse'}")
    assert not re.search("hunter|correct|horse", written(made))


def test_a_token_and_an_email_in_the_path_are_masked() -> None:
    shown = written(call("DELETE", "/-/user/token/npm_xY7zW1vU3tS5rQ9pO2nM4lK6j"))
    assert "xY7zW1" not in shown
    assert "bob@example" not in written(call("GET", "/users/bob@example.com"))
    assert "/users/aaa@aaaaaaa.aaa" in written(call("GET", "/users/bob@example.com"))


def test_a_secret_number_is_not_kept_and_a_large_one_is_not_kept_exactly() -> None:
    shown = written(json_call("/login", b'{"card":4111111111111111,"pin":4321,"amount":98765432109}'))
    assert not re.search("4111|4321|9876543", shown)


def test_a_digest_can_not_be_guessed_without_the_key() -> None:
    digest = OBSERVER.text("query:q", "hunter").digest
    assert digest != hashlib.blake2b(b"hunter", digest_size=6).hexdigest()


ALICE = "Bearer e30.eyJzdWIiOiJhbGljZSJ9.c2ln"


@pytest.mark.parametrize(
    ("source", "claims", "header", "session"),
    [
        (SessionSource(claim="sub"), {"sub": "alice"}, "", "claim alice"),
        (SessionSource(claim="sub"), {}, ALICE, ""),
        (SessionSource(claim="sub", unverified=True), {}, ALICE, "unverified claim alice"),
        (SessionSource(claim="sub", unverified=True), {"sub": "alice"}, "Bearer e30.eyJzdWIiOiJib2IifQ.c2ln", "claim alice"),
        (SessionSource(claim="sid", unverified=True), {"sub": "alice"}, ALICE, ""),
    ],
    ids=["verified", "unverified isn't asked for", "unverified", "what Envoy verified wins", "another claim"],
)
def test_the_session_is_a_claim(source: SessionSource, claims: dict[str, str], header: str, session: str) -> None:
    headers = {"authorization": header} if header else {}
    made = call(headers=headers, claims=claims, sources=(source,))
    assert OBSERVER.digest(session) == made.caller.session


@pytest.mark.parametrize("target", ["/a/../b;c", "/a" * 20 + "/../b;c", "/" + "a" * 200 + "/../b;c"])
def test_a_path_seen_before_raises_the_same_flags_again(target: str) -> None:
    assert [(Flag.DOT_SEGMENT, Flag.PATH_PARAMETER)] * 2 == [call("GET", target).flags for _ in range(2)]


def test_a_path_is_observed_under_the_key_of_each_observer() -> None:
    keys = ("one", "two", "one")
    digests = [to_call(raw_call(target="/users/4711"), Observer(key)).segments[1].digest for key in keys]
    assert digests[0] == digests[2] != digests[1]


def test_a_usual_header_is_named_like_any_other() -> None:
    for name, key in _USUAL_HEADERS.items():
        assert key == _header_key.__wrapped__(name)
