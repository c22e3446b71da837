"""Good-Turing evidence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.evidence import MAX_SURPRISE, chance_of_new, surprise


@pytest.mark.parametrize(
    ("n", "rare", "prior", "chance"),
    [
        (0, 0, 0.1, 0.1),
        (0, 0, 1.0, 1.0),
        (200, 0, 0.0, 0.0),
        (9_800, 0, 0.01, 2e-4),
        (9_800, 1_000, 0.0, 0.1),
        (10, 10_000, 1.0, 1.0),
    ],
)
def test_chance_of_new(n: int, rare: float, prior: float, chance: float) -> None:
    assert chance == pytest.approx(chance_of_new(n, rare, prior))


@given(st.integers(0, 10**9), st.floats(0, 10**9), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_chance_is_a_probability_and_falls_with_evidence(n: int, rare: float, prior: float) -> None:
    chance = chance_of_new(n, rare, prior)
    assert 0 <= chance <= 1
    assert chance_of_new(n + 1, rare, prior) <= chance
    assert chance_of_new(n, rare + 1, prior) >= chance


@pytest.mark.parametrize(("chance", "amount"), [(1.0, 0.0), (0.1, 1.0), (1e-4, 4.0), (1e-9, MAX_SURPRISE), (0.0, MAX_SURPRISE)])
def test_surprise_is_minus_log10_and_bounded(chance: float, amount: float) -> None:
    assert amount == pytest.approx(surprise(chance))


def test_surprise_of_certainty_is_not_negative() -> None:
    assert surprise(1.0) == 0.0
    assert surprise(1.5) == 0.0
