"""How values are written anywhere in a workload."""

import pytest

from authz_server.engine.finding import FindingCode
from authz_server.engine.parameters import score_parameter
from authz_server.engine.profile import ParameterProfile
from tests.factories_engine import codes, parameter
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.support import Quorum
from trainer.written import to_written

NOBODY = Quorum()


def learner(key: str, *values: str) -> ParameterLearner:
    made = ParameterLearner()
    for number in range(600):
        made.update(parameter(key, values[number % len(values)]), f"c{number % 20}")
    return made


def written() -> dict[str, ParameterProfile]:
    own = {("GET /a", "query:q"): learner("query:q", "red", "blue"), ("POST /b", "body:/n"): learner("body:/n", "a-b", "12")}
    own["GET /{*}", "path:0"] = learner("path:0", "a'b")
    return to_written(
        own, {"header:accept": learner("header:accept", "*/*"), "cookie:a": learner("cookie:a", "z")}, Prior(), NOBODY
    )


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        ("q", "green", [FindingCode.LENGTH]),
        ("q", "12ab", []),
        ("q", "c-d", []),
        ("q", "c-d-", [FindingCode.SYMBOLS]),
        ("q", "a'b", [FindingCode.CHARACTERS]),
        ("q", "a/b", [FindingCode.CHARACTERS]),
        ("h", "*/*", []),
        ("h", "a/*", [FindingCode.CHARACTERS]),
        ("c", "z", []),
        ("c", "*", [FindingCode.CHARACTERS]),
    ],
)
def test_a_value_is_held_against_all_of_its_place(place: str, value: str, found: list[FindingCode]) -> None:
    assert codes(score_parameter(parameter("query:new", value), written()[place])) == found


def test_where_nothing_came_there_is_no_profile() -> None:
    assert to_written({}, {"header:accept": learner("header:accept", "a")}, Prior(), NOBODY).keys() == {"h"}


def test_the_learners_stay_as_they_are() -> None:
    made = learner("query:q", "a")
    to_written({("GET /a", "query:q"): made}, {}, Prior(), NOBODY)
    assert made.total.count == 600
