"""Learning who calls whom."""

import random

import pytest

from authz_server.engine.edges import EdgeModel
from tests.partition import merged, parts_of
from trainer.fit_edges import EdgeLearner
from trainer.prior import Prior
from trainer.support import Quorum

WEB, JOB = "td/ns/shop/sa/web", "td/ns/shop/sa/job"
QUORUM = Quorum((), 2)
Seen = tuple[str, str, int]


def learn(calls: list[Seen]) -> EdgeLearner:
    learner = EdgeLearner()
    for endpoint, principal, window in calls:
        learner.update(endpoint, principal, window)
    return learner


def finish(learner: EdgeLearner) -> EdgeModel:
    prior = Prior()
    learner.pool(prior, QUORUM)
    return learner.finish(prior, QUORUM)


@pytest.mark.parametrize(
    ("windows", "known"),
    [([0, 0, 9], True), ([0, 9], False), ([4, 4, 4, 4], False), ([1, 2, 3], True)],
    ids=["three calls in two windows", "two calls", "one burst", "three windows"],
)
def test_a_principal_becomes_normal_at_an_endpoint(windows: list[int], known: bool) -> None:
    usual = [("GET /", WEB, n % 8) for n in range(100)]
    model = finish(learn([*usual, *[("GET /", JOB, window) for window in windows]]))
    assert (known, known) == (JOB in model.principals, JOB in model.endpoints["GET /"].principals)


def test_new_callers_are_less_odd_where_new_callers_are_usual() -> None:
    quiet = finish(learn([("GET /", WEB, n % 8) for n in range(1000)]))
    busy = finish(learn([("GET /", f"{WEB}{n % 100 if n < 900 else n}", n % 8) for n in range(1000)]))
    assert quiet.endpoints["GET /"].surprise > busy.endpoints["GET /"].surprise > 0


def test_an_endpoint_with_too_many_principals_is_not_judged() -> None:
    model = finish(learn([("GET /", f"p{n}", n % 8) for n in range(3000)] * 3))
    assert {} == model.endpoints


def test_merging_equals_learning_at_once() -> None:
    calls = [("GET /" if n % 3 else "POST /pay", WEB if n % 7 else f"p{n % 5}", n % 8) for n in range(200)]
    whole = finish(learn(calls))
    rng = random.Random(7)
    for _ in range(10):
        assert whole == finish(merged(EdgeLearner, lambda one, seen: one.update(*seen), parts_of(calls, 5, rng), rng))
