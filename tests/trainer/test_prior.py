"""The pooled prior: how often something new comes in contexts of the same kind and age."""

import pytest

from authz_server.engine.finding import FindingCode
from trainer.prior import Prior

CODE, OTHER = FindingCode.VALUE, FindingCode.TYPE


def prior(*contexts: tuple[int, int]) -> Prior:
    made = Prior()
    for n, rare in contexts:
        made.add(CODE, n, rare)
    return made


def test_without_any_context_nothing_is_surprising() -> None:
    assert Prior().surprise(CODE, 0, 0) == 0.0


def test_a_young_context_is_judged_by_others_of_its_age() -> None:
    restless = prior(*[(100, 50)] * 20)
    quiet = prior(*[(100, 0)] * 20)
    assert restless.surprise(CODE, 100, 0) < 0.6 < 2.5 < quiet.surprise(CODE, 100, 0)


def test_contexts_of_another_kind_or_age_say_nothing() -> None:
    made = prior(*[(100, 50)] * 20)
    made.add(OTHER, 100, 0)
    assert made.surprise(OTHER, 100, 0) > made.surprise(CODE, 100, 0)
    assert made.surprise(CODE, 100_000, 0) == Prior().surprise(CODE, 100_000, 0)


@pytest.mark.parametrize(
    ("n", "rare", "low", "high"), [(10_000, 0, 3.5, 8.0), (10_000, 1_000, 0.9, 1.1), (10_000, 100, 1.8, 2.1)]
)
def test_a_contexts_own_history_outweighs_the_prior(n: int, rare: int, low: float, high: float) -> None:
    assert low <= prior((n, rare), (n, 0), (n, 0)).surprise(CODE, n, rare) <= high


def test_surprise_grows_with_evidence_and_falls_with_novelty() -> None:
    alone = [prior((n, 0)).surprise(CODE, n, 0) for n in (10, 100, 1_000, 10_000, 100_000)]
    assert alone == sorted(alone)
    novel = [prior((1_000, rare)).surprise(CODE, 1_000, rare) for rare in (0, 1, 10, 100, 1_000)]
    assert novel == sorted(novel, reverse=True)


def test_the_order_of_contexts_does_not_matter() -> None:
    contexts = [(n, n % 7) for n in range(1, 300)]
    assert prior(*contexts).surprise(CODE, 50, 1) == prior(*contexts[::-1]).surprise(CODE, 50, 1)
