"""Claims of a token, as far as they tell one caller from another."""

from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.claims import MAX_CLAIM, MAX_CLAIMS, flat_claims, unverified_claims


def bearer(payload: Any) -> str:
    return f"Bearer e30.{urlsafe_b64encode(msgspec.json.encode(payload)).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"sub": "alice", "iat": 1_700_000_000}, {"sub": "alice", "iat": "1700000000"}),
        ({"realm": {"id": 7, "deep": {"x": "y", "deeper": {"z": "no"}}}}, {"realm.id": "7", "realm.deep.x": "y"}),
        ({"aud": ["a"], "admin": True, "n": None, "empty": "", "rate": 1.5, "exp": 1.7e9}, {"exp": "1700000000"}),
        ({"long": "x" * (MAX_CLAIM + 1), "ok": "x" * MAX_CLAIM}, {"ok": "x" * MAX_CLAIM}),
        ([1, 2], {}),
    ],
)
def test_scalar_claims_are_read_by_name(payload: Any, expected: dict[str, str]) -> None:
    assert expected == unverified_claims(bearer(payload))


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic YTpi", "Bearer a.b", "Bearer a.%%%.c", "Bearer a.bm90IGpzb24.c", "Bearer a." + "x" * 9000 + ".c"],
)
def test_what_is_no_token_has_no_claims(header: str) -> None:
    assert {} == unverified_claims(header)


def test_the_number_of_claims_is_bounded() -> None:
    assert len(flat_claims({f"c{n}": n for n in range(500)})) == MAX_CLAIMS


@given(st.text(max_size=200))
def test_any_header_has_claims_or_none(text: str) -> None:
    assert isinstance(unverified_claims(f"Bearer {text}"), dict)
