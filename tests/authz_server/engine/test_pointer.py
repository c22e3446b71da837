"""Names of the learned document: distinct for what is distinct, and pointers made of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.pointer import (
    body_schema_id,
    is_credential,
    operation_id,
    parameter_id,
    path_names,
    to_method,
    to_path,
    to_pointer,
)

COMPONENT = re.compile(r"[A-Za-z0-9._-]+\Z")
"""OpenAPI 3.1, Components Object."""

PATHS = [
    ("GET /", "/"),
    ("GET /items/{*}", "/items/{itemId}"),
    ("GET /categories/{*}", "/categories/{categoryId}"),
    ("GET /boxes/{*}/classes/{*}", "/boxes/{boxId}/classes/{classId}"),
    ("GET /user_id/{*}", "/user_id/{userId}"),
    ("GET /order-lines/{*}", "/order-lines/{orderLineId}"),
    ("GET /v2/{*}", "/v2/{id}"),
    ("GET /{*}/{*}", "/{id}/{id2}"),
    ("GET /a/{*}/a/{*}", "/a/{aId}/a/{aId2}"),
    ("GET /status/{*}", "/status/{statusId}"),
    ("GET /users/", "/users/"),
]


@pytest.mark.parametrize(("endpoint", "path"), PATHS)
def test_path_parameters_are_named_after_what_stands_before_them(endpoint: str, path: str) -> None:
    assert path == to_path(endpoint)


SEGMENTS = st.lists(
    st.one_of(st.just("{*}"), st.text("aIid._-~$@12", max_size=5), st.sampled_from(["id", "aId", "users", "a.b"])), max_size=4
)
ENDPOINTS = st.builds(
    lambda method, segments: f"{method} /{'/'.join(segments)}",
    st.sampled_from(["GET", "POST", "PROPFIND", "!x?", "FIELDS"]),
    SEGMENTS,
)
NAMES = st.text("ab.[]$ äquery-_/~*{}", max_size=8)


@given(st.lists(ENDPOINTS, unique=True, max_size=30))
def test_distinct_endpoints_have_distinct_operations(endpoints: list[str]) -> None:
    identifiers = [operation_id(endpoint) for endpoint in endpoints]
    assert len(set(identifiers)) == len(endpoints)
    assert all(COMPONENT.match(identifier) for identifier in identifiers)
    schemas = [body_schema_id(endpoint, name) for endpoint in endpoints for name in ("", "x")]
    assert len(set(schemas)) == 2 * len(endpoints)
    assert len({(to_path(endpoint), to_method(endpoint)) for endpoint in endpoints}) == len(endpoints)


@given(st.lists(st.tuples(ENDPOINTS, st.sampled_from(["query", "path"]), NAMES), unique=True, max_size=30))
def test_distinct_parameters_have_distinct_components(parameters: list[tuple[str, str, str]]) -> None:
    identifiers = [parameter_id(*one) for one in parameters]
    assert len(set(identifiers)) == len(parameters)
    assert all(COMPONENT.match(identifier) for identifier in identifiers)


@given(ENDPOINTS)
def test_names_are_distinct_within_a_path(endpoint: str) -> None:
    names = path_names(endpoint)
    assert len(set(names.values())) == len(names) == endpoint.split("/").count("{*}")


@given(ENDPOINTS, st.sampled_from(["query", "header", "cookie", "body", ""]), NAMES)
def test_any_place_has_a_pointer(endpoint: str, location: str, name: str) -> None:
    pointer = to_pointer(endpoint, location, name)
    assert pointer.startswith("/")
    assert not re.search(r"~(?![01])", pointer)


CREDENTIALS = [
    ("header", "authorization", True),
    ("header", "x-api-key", True),
    ("header", "X-Auth-Token", True),
    ("header", "user-agent", False),
    ("header", "x-author", False),
    ("cookie", "JSESSIONID", True),
    ("cookie", "session", True),
    ("cookie", "sid", True),
    ("cookie", "access_token", True),
    ("cookie", "theme", False),
    ("cookie", "inside", False),
    ("query", "session", False),
]


@pytest.mark.parametrize(("location", "name", "expected"), CREDENTIALS)
def test_credentials_are_recognised_by_name(location: str, name: str, expected: bool) -> None:
    assert expected == is_credential(location, name)
