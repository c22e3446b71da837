"""A call as figures: counted rightly, finite and bounded."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.figures import FIGURES, to_categories, to_figures
from authz_server.engine.profile import Interval
from tests.factories_engine import FORM, VALUES, call, endpoint_profile, parameter_profile, word_profile

PROFILE = endpoint_profile(
    parameters={"query:count": parameter_profile(numbers=Interval(0, 10)), "query:q": word_profile(lengths=Interval(2, 6))}
)


def figures_of(target: str, **changes: Any) -> dict[str, float]:
    return dict(zip(FIGURES, to_figures(call("GET", target, **changes), (), PROFILE), strict=True))


def test_figures_of_values() -> None:
    found = figures_of("/cart/items?count=5&q=ab-12")
    assert (2, 1, 1) == (found["number of values"], found["values of type integer"], found["values of type string"])
    assert (math.log2(7), math.log2(6)) == (
        found["characters in all values, as a power of 2"],
        found["characters in the longest value, as a power of 2"],
    )
    assert (3, 1) == (found["classes of characters"], found["different punctuation marks"])
    assert (3 / 6, 2 / 6, 4 / 6) == (
        found["share of digits"],
        found["share of letters"],
        found["runs of characters per character"],
    )


def test_numbers_and_lengths_stand_in_their_normal_intervals() -> None:
    found = figures_of("/cart/items?count=5&q=abcd")
    assert (0.5, 0.5) == (found["highest number, in its normal interval"], found["longest value, in its normal interval"])


@pytest.mark.parametrize(("count", "position"), [("10", 1.0), ("-1000", -3.0), ("1000", 4.0)])
def test_what_is_far_out_is_cut(count: str, position: float) -> None:
    assert position == figures_of(f"/cart/items?count={count}")["average number, in its normal interval"]


def test_unknown_and_absent_parameters() -> None:
    found = to_figures(call("GET", "/cart/items?x=1"), (), endpoint_profile(required={"query:count": 3.0}))
    assert (1.0, 1.0) == (found[FIGURES.index("unknown parameters")], found[FIGURES.index("absent parameters")])


def test_headers_and_cookies_count_but_are_no_values() -> None:
    found = figures_of("/cart/items", headers={"accept": "*/*", "cookie": "a=1; b=2"})
    assert (3, 0) == (found["number of headers and cookies"], found["number of values"])


@given(st.lists(VALUES, max_size=6), st.integers(-1, 2**40))
@settings(max_examples=60, deadline=None)
def test_figures_are_finite_and_bounded(values: list[str], size: int) -> None:
    made = call(
        "GET", "/cart/items?" + "&".join(f"{'count' if i % 2 else 'q'}={v}" for i, v in enumerate(values)), body_size=size
    )
    figures = to_figures(made, (), PROFILE)
    assert len(FIGURES) == len(figures)
    assert all(-1000 < figure < 1000 for figure in figures)


def test_categories_are_endpoint_body_and_combination() -> None:
    made = call("POST", "/cart/items?q=a", headers=FORM, body=b"z=1", body_size=3)
    assert ("POST /cart/items", "form", "body:z query:q") == to_categories(made, "POST /cart/items")
