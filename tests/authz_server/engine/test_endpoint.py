"""Which endpoint a call is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.endpoint import WILDCARD, EndpointTable, path_parameters
from tests.factories_engine import segments

TABLE = EndpointTable(
    [
        "GET /",
        "GET /users/{*}",
        "GET /users/me",
        "DELETE /users/{*}",
        "GET /users/{*}/orders",
        "GET /users/me/avatar",
        "POST /cart/",
        "GET /{*}/about",
        "GET /a/{*}/c",
        "GET /a/b/{*}/d",
        "POST /shop.Cart/Add",
    ]
)

MATCHES = [
    ("GET", "/", "GET /"),
    ("GET", "/users/7", "GET /users/{*}"),
    ("GET", "/users/me", "GET /users/me"),
    ("GET", "/users/mel", "GET /users/{*}"),
    ("DELETE", "/users/me", "DELETE /users/{*}"),
    ("GET", "/users/me/orders", "GET /users/{*}/orders"),
    ("GET", "/users/me/avatar", "GET /users/me/avatar"),
    ("GET", "/users/about", "GET /users/{*}"),
    ("GET", "/a/b/c", "GET /a/{*}/c"),
    ("GET", "/a/b/x/d", "GET /a/b/{*}/d"),
    ("POST", "/cart/", "POST /cart/"),
    ("POST", "/shop.Cart/Add", "POST /shop.Cart/Add"),
    ("GET", "/users/7;v=1", "GET /users/{*}"),
    ("GET", "/users/a%2Fb", "GET /users/{*}"),
]


@pytest.mark.parametrize(("method", "path", "endpoint"), MATCHES)
def test_match(method: str, path: str, endpoint: str) -> None:
    assert (endpoint, ()) == TABLE.match(method, segments(path))


UNKNOWN = [
    ("GET", "/users", ()),
    ("GET", "/users/", ()),
    ("GET", "/users/7/", ()),
    ("GET", "/users//7", ()),
    ("GET", "//users/7", ()),
    ("GET", "/Users/7", ()),
    ("GET", "/cart", ()),
    ("GET", "/x/y", ()),
    ("PUT", "/users/7", ("DELETE", "GET")),
    ("POST", "/users/me", ("GET",)),
    ("get", "/users/me", ("GET",)),
    ("GET", "/cart/", ("POST",)),
    ("GET", "/shop.Cart/Add", ("POST",)),
]


@pytest.mark.parametrize(("method", "path", "methods"), UNKNOWN)
def test_no_match_tells_the_methods_of_the_best_template(method: str, path: str, methods: tuple[str, ...]) -> None:
    assert ("", methods) == TABLE.match(method, segments(path))


def test_an_empty_table_matches_nothing() -> None:
    assert EndpointTable([]).match("GET", segments("/a")) == ("", ())


def test_a_wildcard_never_matches_an_empty_segment() -> None:
    assert EndpointTable(["GET /{*}"]).match("GET", segments("/")) == ("", ())


def test_a_client_that_sends_a_template_gets_no_literal() -> None:
    assert EndpointTable(["GET /a/{*}"]).match("GET", segments("/a/{*}")) == ("GET /a/{*}", ())


@pytest.mark.parametrize(
    ("endpoint", "positions"),
    [("GET /", ()), ("GET /a", ()), ("GET /{*}", (0,)), ("GET /users/{*}/items/{*}", (1, 3)), ("GET /a/{*}/", (1,))],
)
def test_path_parameters(endpoint: str, positions: tuple[int, ...]) -> None:
    assert positions == path_parameters(endpoint)


PARTS = st.lists(st.sampled_from(["a", "b", WILDCARD, ""]), min_size=1, max_size=4)
ENDPOINTS = st.lists(
    st.builds(lambda method, parts: f"{method} /{'/'.join(parts)}", st.sampled_from(["GET", "PUT"]), PARTS), max_size=12
)
PATHS = st.lists(st.sampled_from(["a", "b", "7", ""]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def fits(endpoint: str, method: str, path: str) -> bool:
    known, _, template = endpoint.partition(" ")
    wanted, given_ = template.split("/"), path.split("/")
    return (
        known == method
        and len(wanted) == len(given_)
        and all(w == g or (w == WILDCARD and g != "") for w, g in zip(wanted, given_, strict=True))
    )


def preference(endpoint: str) -> tuple[bool, ...]:
    return tuple(part == WILDCARD for part in endpoint.split("/")[1:])


@given(ENDPOINTS, st.sampled_from(["GET", "PUT", "POST"]), PATHS)
@settings(max_examples=120, deadline=None)
def test_match_is_total_deterministic_and_prefers_literals_from_the_left(endpoints: list[str], method: str, path: str) -> None:
    found, methods = EndpointTable(endpoints).match(method, segments(path))
    fitting = sorted({endpoint for endpoint in endpoints if fits(endpoint, method, path)}, key=preference)
    assert found == (fitting[0] if fitting else "")
    assert bool(methods) == (not fitting and any(fits(e, e.partition(" ")[0], path) for e in endpoints))
    shuffled = sorted(endpoints, reverse=True)
    assert (found, methods) == EndpointTable(shuffled).match(method, segments(path))


def test_backtracking_is_bounded_by_the_number_of_templates() -> None:
    """Ten positions, each literal or wildcard: every branch fails only at the end."""
    table = EndpointTable([f"GET /{'/'.join('a' if mask >> i & 1 else WILDCARD for i in range(10))}/end" for mask in range(1024)])
    assert table.match("GET", segments("/" + "a/" * 10 + "other")) == ("", ())
