"""Since when a workload is watched as it is now."""

from authz_server.engine.history import IDLE_SECONDS
from authz_server.histories.gaps import Gaps
from tests.factories_engine import endpoint_profile, ready

SHOP = "shop/shop"
OLD = ready({"GET /a": endpoint_profile()})
SAME = ready({"GET /a": endpoint_profile(n=9)})
NEW = ready({"GET /a": endpoint_profile(), "POST /pay": endpoint_profile()})


def test_a_workload_watched_from_the_beginning_lacks_nothing() -> None:
    gaps = Gaps()
    assert not gaps.lacks(SHOP, OLD, 100.0)
    assert not gaps.lacks(SHOP, SAME, 200.0)


def test_what_was_not_judged_is_missing_for_as_long_as_a_session_may_last() -> None:
    gaps = Gaps()
    gaps.unwatched(SHOP, 100.0)
    assert gaps.lacks(SHOP, OLD, 101.0)
    assert gaps.lacks(SHOP, OLD, 99.0 + IDLE_SECONDS)
    assert not gaps.lacks(SHOP, OLD, 101.0 + IDLE_SECONDS)
    assert not gaps.lacks("shop/other", OLD, 101.0)


def test_new_endpoints_make_a_gap_and_a_model_with_the_same_ones_does_not() -> None:
    gaps = Gaps()
    gaps.lacks(SHOP, OLD, 100.0)
    assert not gaps.lacks(SHOP, SAME, 101.0)
    assert gaps.lacks(SHOP, NEW, 102.0)
    assert not gaps.lacks(SHOP, NEW, 103.0 + IDLE_SECONDS)


def test_invented_workloads_are_bounded() -> None:
    gaps = Gaps()
    for number in range(2_000):
        gaps.unwatched(f"w{number}", 1.0)
    assert len(gaps._unwatched) == 1_000
