"""How path segments are written anywhere in a workload."""

from functools import reduce

import pytest

from authz_server.engine.finding import FindingCode
from authz_server.engine.parameters import score_parameter
from authz_server.engine.profile import ParameterProfile
from tests.factories_engine import OBSERVER, codes, parameter
from trainer.parameter_learner import ParameterLearner
from trainer.prior import Prior
from trainer.segments import to_segments
from trainer.support import Quorum, Support, to_support

NOBODY = Quorum()


def support(calls: int) -> Support:
    return reduce(Support.plus, [to_support(f"c{number}") for number in range(calls)])


def profile() -> ParameterProfile:
    ids = ParameterLearner()
    for number in range(1000):
        ids.update(parameter("path:1", f"{number}-x"), f"c{number % 20}")
    names = {"GET /users/{*}": support(1000), "POST /log.in": support(500)}
    made = to_segments({("GET /users/{*}", "path:1"): ids}, names, Prior(), NOBODY)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("segment", "found"),
    [
        ("admin", []),
        ("42-x", []),
        ("777", []),
        ("a.b", []),
        ("a_b", [FindingCode.CHARACTERS]),
        ("a'b", [FindingCode.CHARACTERS]),
        ("a-b-c", [FindingCode.SYMBOLS]),
        ("a" * 40, [FindingCode.LENGTH]),
    ],
)
def test_a_segment_is_held_against_names_and_data_of_all_endpoints(segment: str, found: list[FindingCode]) -> None:
    assert codes(score_parameter(OBSERVER.segment("path:0", segment), profile())) == found


def test_without_any_segment_there_is_no_profile() -> None:
    assert to_segments({}, {"GET /": support(9)}, Prior(), NOBODY) is None


def test_the_learners_stay_as_they_are() -> None:
    ids = ParameterLearner()
    ids.update(parameter("path:1", "7"), "a")
    to_segments({("GET /users/{*}", "path:1"): ids}, {"GET /users/{*}": support(3)}, Prior(), NOBODY)
    assert ids.total.count == 1
