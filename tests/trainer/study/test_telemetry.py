"""What an access log shows of a call."""

from typing import Any

import pytest

from tests.factories import record
from tests.trainer.study.traffic import browse, order
from trainer.study.telemetry import AMOUNTS, CATEGORIES, Telemetry, to_telemetry


def named(call: Telemetry) -> dict[str, object]:
    return dict(zip((*CATEGORIES, *AMOUNTS), (*call.categories, *call.amounts), strict=True))


def test_a_call_is_viewed_as_names_and_amounts() -> None:
    expected = {
        "source": "cluster.local/ns/shop/sa/web",
        "destination": "shop/cart",
        "method": "POST",
        "path": "",
        "status": "201",
        "body": "json",
        "form": "plain",
        "request_bytes": 300.0,
        "response_bytes": 40.0,
        "duration_ms": 60.0,
        "path_characters": 7.0,
        "query_parameters": 0.0,
    }
    assert expected == named(to_telemetry(order()))


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"status": None}, "status", "unknown"),
        ({"status": 0}, "status", "no answer"),
        ({"resp_size": None}, "response_bytes", None),
        ({"resp_size": -1}, "response_bytes", None),
        ({"resp_size": 0}, "response_bytes", 0.0),
        ({"duration_ms": None}, "duration_ms", None),
        ({"body_size": -1}, "request_bytes", None),
        ({"source": ""}, "source", "unknown"),
        ({"workload": ""}, "destination", "unknown"),
    ],
)
def test_what_is_not_known_is_said_to_be_so(changes: dict[str, Any], column: str, expected: object) -> None:
    assert expected == named(to_telemetry(browse(**changes)))[column]


def test_oddities_of_form_are_one_name_whatever_their_order() -> None:
    from tests.factories_engine import record as made

    assert "dot_segment+double_slash" == named(to_telemetry(made("GET", "/a//../b")))["form"]


def test_query_parameters_are_counted_and_headers_are_not() -> None:
    assert 1.0 == named(to_telemetry(record()))["query_parameters"]


@pytest.mark.parametrize(
    ("label", "attack", "expected"), [(1, "sqli", "sqli"), (1, None, "unnamed"), (0, "sqli", ""), (None, None, "")]
)
def test_only_attacks_have_a_kind(label: int | None, attack: str | None, expected: str) -> None:
    assert expected == to_telemetry(browse(label=label, attack=attack)).attack
