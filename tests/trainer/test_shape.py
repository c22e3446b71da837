"""Which parameters a call has."""

import pytest

from authz_server.engine.call import Call
from authz_server.engine.parameters import combination
from tests.factories_engine import FORM, JSON, call
from trainer.shape import to_shape

CASES: list[tuple[str, Call, list[str], list[str]]] = [
    ("nothing", call("GET", "/"), [], []),
    ("a query", call("GET", "/?b=1&a=2"), ["query:b", "query:a"], []),
    ("one header", call("GET", "/", headers={"accept": "*/*"}), [], ["header:accept"]),
    (
        "a body and its type",
        call("POST", "/", headers={**JSON, "cookie": "t=1"}, body=b'{"n":1}'),
        ["body:/n", "header:content-type"],
        ["cookie:t"],
    ),
    ("the same twice", call("POST", "/?x=1&x=2", headers=FORM, body=b"x=3"), ["query:x", "query:x", "body:x"], []),
]


@pytest.mark.parametrize(("made", "own", "shared"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_parameters_of_the_endpoint_and_those_sent_everywhere(made: Call, own: list[str], shared: list[str]) -> None:
    shape = to_shape(made)
    assert set(own) <= {parameter.key for parameter in shape.own(made.parameters)}
    assert shared == [parameter.key for parameter in shape.shared(made.parameters)]
    picked = [*shape.own(made.parameters), *shape.shared(made.parameters)]
    assert sorted(shape.keys) == sorted(parameter.key for parameter in picked)


@pytest.mark.parametrize("made", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_the_combination_is_the_engines(made: Call) -> None:
    assert combination(made) == to_shape(made).combination


def test_many_parameters_are_sorted_out_too() -> None:
    made = call("GET", "/?" + "&".join(f"p{chr(97 + n // 26)}{chr(97 + n % 26)}=1" for n in range(100)))
    assert (combination(made), len(made.parameters)) == (to_shape(made).combination, len(to_shape(made).own(made.parameters)))
