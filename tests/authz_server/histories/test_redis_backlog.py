"""Calls that Redis may not have seen, and until when that leaves histories in doubt."""

from authz_server.histories.redis_backlog import MAX_MISSED, Backlog
from authz_server.histories.visit import Visit


def missed(calls: int) -> Backlog:
    backlog = Backlog()
    for number in range(calls):
        backlog.miss(Visit(f"d-{number}", 10.0, "shop/shop", "s", "POST /cart", " "))
    return backlog


def test_a_call_that_was_missed_is_in_doubt_and_has_a_name_while_there_are_not_too_many() -> None:
    found = [(backlog.in_doubt, backlog.unnamed) for backlog in map(missed, (0, 1, MAX_MISSED, MAX_MISSED + 2))]
    assert [(False, 0), (True, 0), (True, 0), (True, 2)] == found


def test_who_is_missed_while_all_histories_begin_anew_is_told_of_next_time() -> None:
    backlog = missed(MAX_MISSED + 1)
    told = backlog.unnamed
    backlog.miss(Visit("d-late", 10.0, "shop/shop", "t", "POST /cart", " "))
    backlog.forgive(told)
    assert 1 == backlog.unnamed
