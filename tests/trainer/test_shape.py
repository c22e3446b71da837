"""Which parameters a call has."""

import pytest

from authz_server.engine.call import Call
from authz_server.engine.parameters import combination
from tests.factories_engine import FORM, JSON, call
from trainer.shape import is_own, to_combination

MANY = "/?" + "&".join(f"p{chr(97 + n // 26)}{chr(97 + n % 26)}=1" for n in range(100))
CASES: list[tuple[str, Call, list[str]]] = [
    ("nothing", call("GET", "/"), []),
    ("a query", call("GET", "/?b=1&a=2"), []),
    ("one header", call("GET", "/", headers={"accept": "*/*"}), ["header:accept"]),
    ("a body and its type", call("POST", "/", headers={**JSON, "cookie": "t=1"}, body=b'{"n":1}'), ["cookie:t"]),
    ("the same twice", call("POST", "/?x=1&x=2", headers=FORM, body=b"x=3"), []),
    ("many", call("GET", MANY), []),
]


def keys(made: Call) -> list[str]:
    return [parameter.key for parameter in made.parameters]


@pytest.mark.parametrize(("made", "shared"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_headers_and_cookies_are_shared_but_for_the_content_type(made: Call, shared: list[str]) -> None:
    assert shared == [key for key in keys(made) if not is_own(key)]


@pytest.mark.parametrize("made", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_the_combination_is_the_engines(made: Call) -> None:
    assert combination(made) == to_combination(keys(made))
