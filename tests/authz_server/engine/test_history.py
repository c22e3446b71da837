"""What each caller did lately."""

from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.history import IDLE_SECONDS, MAX_STEPS, CallerHistory, History, add_step, take_back

LOGIN, CART, PAY = "POST /login", "POST /cart", "POST /pay"


def walked(*endpoints: str) -> CallerHistory:
    caller = CallerHistory(0.0, IDLE_SECONDS)
    for endpoint in endpoints:
        add_step(caller, endpoint)
    return caller


def test_steps_are_numbered_in_order() -> None:
    caller = walked(LOGIN, CART, PAY, CART)
    assert (caller.recent[-1], caller.next_number) == (CART, 4)
    assert caller.ever == {LOGIN: 0, PAY: 2, CART: 3}


def test_nothing_comes_before_the_first_step() -> None:
    assert walked().recent == ()


def test_take_back_removes_a_failed_step() -> None:
    caller = walked(LOGIN, CART, PAY)
    take_back(caller, 2)
    assert (caller.recent[-1], caller.ever) == (CART, {LOGIN: 0, CART: 1})


def test_take_back_restores_the_step_before_of_the_same_endpoint() -> None:
    caller = walked(CART, PAY, CART)
    take_back(caller, 2)
    assert (caller.recent[-1], caller.ever) == (PAY, {CART: 0, PAY: 1})


def test_take_back_in_the_middle_keeps_the_later_step() -> None:
    caller = walked(CART, PAY, CART)
    take_back(caller, 0)
    assert caller.ever == {CART: 2, PAY: 1}
    take_back(caller, 2)
    assert caller.ever == {PAY: 1}


def test_take_back_twice_or_of_an_unknown_step_does_nothing() -> None:
    caller = walked(LOGIN, CART)
    take_back(caller, 1)
    take_back(caller, 1)
    take_back(caller, 99)
    assert caller.ever == {LOGIN: 0}


def test_a_failed_step_does_not_erase_one_that_succeeded_long_before() -> None:
    """A second login with a typing error: the first one is older than the remembered steps, and still counts."""
    caller = walked(LOGIN, *[CART] * (MAX_STEPS + 5))
    number = add_step(caller, LOGIN)
    take_back(caller, number)
    assert caller.ever[LOGIN] == 0


def test_steps_are_bounded_and_what_ever_happened_is_kept() -> None:
    caller = walked(LOGIN, *[CART] * 1_000)
    assert len(caller.steps) == MAX_STEPS
    assert caller.ever == {LOGIN: 0, CART: 1_000}


@given(st.lists(st.tuples(st.sampled_from([LOGIN, CART, PAY]), st.booleans()), max_size=60))
@settings(max_examples=150, deadline=None)
def test_after_taking_back_ever_is_as_if_the_failed_steps_had_not_been(walk: list[tuple[str, bool]]) -> None:
    """Outcomes come in order, a few steps late, as from an access log."""
    caller = CallerHistory(0.0, IDLE_SECONDS)
    pending: list[int] = []
    expected: dict[str, int] = {}
    for number, (endpoint, succeeded) in enumerate(walk):
        assert number == add_step(caller, endpoint)
        if succeeded:
            expected[endpoint] = number
        else:
            pending.append(number)
        if len(pending) > 3:
            take_back(caller, pending.pop(0))
    for number in pending:
        take_back(caller, number)
    assert expected == caller.ever


def test_a_caller_is_found_again_by_workload_and_session() -> None:
    history = History(0.0)
    caller = history.caller("shop/cart", "s1", 10.0)
    add_step(caller, CART)
    assert caller is history.caller("shop/cart", "s1", 20.0)
    assert caller is not history.caller("shop/cart", "s2", 20.0)
    assert caller is not history.caller("shop/pay", "s1", 20.0)
    assert len(history) == 3


def test_watched_tells_how_long_we_had_been_watching() -> None:
    history = History(100.0)
    assert history.caller("w", "early", 100.0).watched == 0.0
    assert history.caller("w", "later", 700.0).watched == 600.0


def test_a_silent_caller_starts_anew_and_is_then_completely_known() -> None:
    history = History(0.0, idle_seconds=60.0)
    first = history.caller("w", "s", 0.0)
    assert first is history.caller("w", "s", 60.0)
    second = history.caller("w", "s", 121.0)
    assert second is not first
    assert second.watched == 60.0


def test_the_least_recently_active_caller_goes_first_and_newcomers_are_then_less_certain() -> None:
    history = History(0.0, max_callers=2)
    old = history.caller("w", "old", 10.0)
    kept = history.caller("w", "kept", 20.0)
    assert old is history.caller("w", "old", 30.0)
    history.caller("w", "new", 40.0)
    assert len(history) == 2
    assert old is history.caller("w", "old", 41.0)
    again = history.caller("w", "kept", 50.0)
    assert again is not kept
    assert again.watched <= 50.0 - 20.0


def test_callers_are_bounded_when_somebody_invents_sessions() -> None:
    history = History(0.0, max_callers=100)
    for number in range(5_000):
        history.caller("w", str(number), float(number))
    assert len(history) == 100


def test_invented_sessions_push_out_nobody_who_came_back_with_a_step_that_stood() -> None:
    history = History(0.0, max_callers=100)
    for session in range(50):
        add_step(history.caller("w", f"real-{session}", 1.0), LOGIN)
    for session in range(50):
        add_step(history.caller("w", f"real-{session}", 2.0), CART)
    for number in range(5_000):
        add_step(history.caller("w", f"invented-{number}", 3.0), LOGIN)
    assert [{LOGIN: 0, CART: 1}] * 50 == [history.caller("w", f"real-{session}", 4.0).ever for session in range(50)]
    assert len(history) == 100


def test_sessions_that_come_back_without_a_step_that_stood_stay_newcomers() -> None:
    """An attacker's calls with invented sessions fail."""
    history = History(0.0, max_callers=10)
    add_step(history.caller("w", "real", 1.0), LOGIN)
    history.caller("w", "real", 2.0)
    for number in range(100):
        for _ in range(3):
            caller = history.caller("w", f"invented-{number}", 3.0)
            take_back(caller, add_step(caller, LOGIN))
    assert history.caller("w", "real", 4.0).ever == {LOGIN: 0}


def test_newcomers_keep_their_share_where_all_others_are_established() -> None:
    history = History(0.0, max_callers=10)
    for session in range(10):
        for now in (1.0, 2.0):
            add_step(history.caller("w", f"old-{session}", now), LOGIN)
    first, second = (history.caller("w", name, 3.0) for name in ("first", "second"))
    assert (first, second) == tuple(history.caller("w", name, 4.0) for name in ("first", "second"))
    assert (len(history), history.caller("w", "old-9", 5.0).ever) == (10, {LOGIN: 1})
    assert history.caller("w", "old-0", 5.0).ever == {}


def test_forgetting_callers_without_a_step_makes_newcomers_no_less_certain() -> None:
    history = History(0.0, max_callers=10)
    for number in range(100):
        history.caller("w", f"failed-{number}", IDLE_SECONDS + number)
    assert history.caller("w", "new", 5_000.0).watched == 5_000.0
    for number in range(100):
        add_step(history.caller("w", f"did-{number}", 6_000.0), LOGIN)
    assert history.caller("w", "new too", 6_010.0).watched == 10.0


def test_established_callers_that_fell_silent_make_room_first() -> None:
    history = History(0.0, max_callers=2, idle_seconds=60.0)
    for now in (1.0, 2.0):
        add_step(history.caller("w", "silent", now), LOGIN)
    kept = history.caller("w", "kept", 100.0)
    history.caller("w", "new", 101.0)
    assert (len(history), kept) == (2, history.caller("w", "kept", 102.0))
    assert history.caller("w", "again", 200.0).watched == 200.0


def test_expire_forgets_the_silent_and_only_them() -> None:
    history = History(0.0, idle_seconds=60.0)
    for number in range(10):
        caller = history.caller("w", str(number), number * 10.0)
        add_step(caller, CART)
        assert caller is history.caller("w", str(number), number * 10.0) or number % 2
    assert history.expire(100.0) == 4
    assert len(history) == 6
    assert history.expire(1_000.0) == 6
    assert history.expire(1_000.0) == 0


def test_a_clock_that_steps_back_is_no_silence() -> None:
    history = History(0.0)
    caller = history.caller("w", "s", 5_000.0)
    assert caller is history.caller("w", "s", 10.0)


def test_counts_follow_what_is_taken_back() -> None:
    caller = walked(CART, PAY, CART)
    assert caller.counts == {CART: 2, PAY: 1}
    take_back(caller, 0)
    take_back(caller, 1)
    assert caller.counts == {CART: 1}


def test_what_ever_happened_is_counted_beyond_the_remembered_steps() -> None:
    assert walked(LOGIN, *[CART] * 1_000).counts == {LOGIN: 1, CART: 1_000}


def test_take_back_removes_a_failed_step_that_others_pushed_out() -> None:
    caller = walked(LOGIN)
    failed = add_step(caller, PAY)
    for _ in range(MAX_STEPS + 3):
        add_step(caller, CART)
    take_back(caller, failed)
    assert PAY not in caller.ever
    assert PAY not in caller.counts


def test_take_back_of_a_pushed_out_repetition_leaves_the_earlier_one() -> None:
    caller = walked(PAY)
    failed = add_step(caller, PAY)
    for _ in range(MAX_STEPS + 3):
        add_step(caller, CART)
    take_back(caller, failed)
    assert 0 <= caller.ever[PAY] < caller.steps[0][0]
    assert caller.counts[PAY] == 1
