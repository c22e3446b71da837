"""Who calls whom."""

import pytest

from authz_server.engine.edges import EdgeModel, Edges, score_edge
from authz_server.engine.finding import FindingCode

WEB, JOB, OTHER = "td/ns/shop/sa/web", "td/ns/shop/sa/job", "td/ns/x/sa/y"
MODEL = EdgeModel(
    1000,
    {WEB: 900, JOB: 100},
    4.0,
    {
        "POST /pay": Edges(300, {WEB: 300}, 3.0),
        "GET /items": Edges(700, {WEB: 600, JOB: 100}, 3.5),
        "GET /new": Edges(2, {}, 0.0),
    },
)


@pytest.mark.parametrize(
    ("endpoint", "principal", "expected"),
    [
        ("POST /pay", WEB, None),
        ("GET /items", JOB, None),
        ("POST /pay", JOB, (FindingCode.UNKNOWN_EDGE, 3.0, f"{JOB} called POST /pay", f"called by {WEB}", 300)),
        ("POST /pay", OTHER, (FindingCode.UNKNOWN_PRINCIPAL, 4.0, OTHER, "one of 2 known callers", 1000)),
        ("POST /pay", "", (FindingCode.UNKNOWN_PRINCIPAL, 4.0, "a caller without identity", "one of 2 known callers", 1000)),
        ("", JOB, None),
        ("", OTHER, (FindingCode.UNKNOWN_PRINCIPAL, 4.0, OTHER, "one of 2 known callers", 1000)),
        ("GET /new", JOB, None),
    ],
)
def test_score_edge(endpoint: str, principal: str, expected: tuple[FindingCode, float, str, str, int] | None) -> None:
    found = score_edge(endpoint, principal, MODEL)
    assert expected == (None if found is None else (found.code, found.amount, found.seen, found.normal, found.evidence))


def test_where_principals_are_too_many_none_is_odd() -> None:
    assert score_edge("GET /items", OTHER, EdgeModel(10)) is None


def test_the_usual_callers_are_told_most_frequent_first_and_not_all() -> None:
    many = EdgeModel(9, {OTHER: 1}, 4.0, {"GET /": Edges(21, {f"p{n}": n for n in range(1, 7)}, 3.0)})
    found = score_edge("GET /", OTHER, many)
    assert found is not None
    assert found.normal == "called by p6, p5, p4, p3 and 2 more"
