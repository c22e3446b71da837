from authz_server.engine.call import Outcome
from tests.factories import raw_call
from trainer.pairing import Paired, Pairing

REQUEST = raw_call(ts=1.1, source="", address="", workload="cart.shop")
ENTRY = raw_call(ts=1.0, body=None, headers={}, workload="shop/cart")
OK = Outcome(200, 10, 5.0)
PAIR = Paired(1, raw_call(ts=1.0), OK, mirrored=True)


def test_request_and_then_entry_are_one_call() -> None:
    pairing = Pairing(5.0)
    pairing.add_request(REQUEST, 0.0)
    assert [] == pairing.release(1.0)
    pairing.add_entry(ENTRY, OK, 1.0)
    assert [PAIR] == pairing.release(1.0)
    assert (1, []) == (pairing.pairs, pairing.release(1.0, everything=True))


def test_entry_and_then_request_are_one_call() -> None:
    pairing = Pairing(5.0)
    pairing.add_entry(ENTRY, OK, 0.0)
    pairing.add_request(REQUEST, 0.5)
    assert [PAIR] == pairing.release(1.0)


def test_what_stays_alone_goes_on_when_its_time_is_up() -> None:
    pairing = Pairing(5.0)
    pairing.add_request(REQUEST, 0.0)
    pairing.add_entry(raw_call(request_id="other"), OK, 1.0)
    assert [] == pairing.release(4.9)
    assert [Paired(1, REQUEST, None, mirrored=True)] == pairing.release(5.0)
    assert [Paired(2, raw_call(request_id="other"), OK, mirrored=False)] == pairing.release(6.0)


def test_entry_that_comes_too_late_names_its_call() -> None:
    pairing = Pairing(5.0)
    pairing.add_request(REQUEST, 0.0)
    pairing.release(5.0)
    assert 1 == pairing.add_entry(ENTRY, OK, 6.0)
    assert [] == pairing.release(100.0)


def test_calls_go_on_in_the_order_in_which_they_came() -> None:
    pairing = Pairing(5.0)
    pairing.add_request(raw_call(request_id="slow"), 0.0)
    pairing.add_request(raw_call(request_id="fast"), 0.1)
    pairing.add_entry(raw_call(request_id="fast"), OK, 0.2)
    assert [] == pairing.release(1.0)
    pairing.add_entry(raw_call(request_id="slow"), OK, 2.0)
    assert ["slow", "fast"] == [paired.raw.request_id for paired in pairing.release(2.0)]


def test_equal_calls_of_one_request_pair_one_to_one() -> None:
    pairing = Pairing(5.0)
    for _ in range(2):
        pairing.add_request(REQUEST, 0.0)
    for status in (200, 503):
        pairing.add_entry(ENTRY, Outcome(status), 0.0)
    released = pairing.release(0.0)
    assert [200, 503] == [paired.outcome.status for paired in released if paired.outcome]


def test_calls_without_request_id_never_pair() -> None:
    pairing = Pairing(5.0)
    pairing.add_request(raw_call(request_id=""), 0.0)
    pairing.add_entry(raw_call(request_id=""), OK, 0.0)
    assert 2 == len(pairing.release(5.0))


def test_everything_goes_on_at_the_end() -> None:
    pairing = Pairing(5.0)
    pairing.add_request(REQUEST, 0.0)
    assert 1 == len(pairing.release(0.0, everything=True))


def test_what_is_held_is_bounded() -> None:
    pairing = Pairing(5.0)
    for n in range(30_000):
        pairing.add_request(raw_call(request_id=f"{n}"), 0.0)
    assert 10_000 == len(pairing.release(0.0))
    for n in range(2_000):
        pairing.add_request(raw_call(request_id=f"large {n}", body=b"x" * 65536), 0.0)
    pairing.release(0.0)
    assert len(pairing.release(0.0, everything=True)) < 1100
