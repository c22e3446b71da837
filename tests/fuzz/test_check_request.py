"""A short, bounded run of the fuzz target, and the answers it must have seen."""

import random

from authz_server.engine.verdict import Action, Basis
from tests.fuzz.check_request import Fuzzer, make_input, make_request


def test_any_bytes_yield_an_answer_and_a_verdict() -> None:
    rng = random.Random(2026)
    with Fuzzer() as fuzzer:
        for _ in range(4_000):
            fuzzer.run(make_input(rng))
    assert {"judged allow", "judged deny", "no_model allow", "off allow", "not_http allow", "error deny"} <= set(fuzzer.answers)


def test_noise_is_an_error_answered_by_failure_mode_allow() -> None:
    with Fuzzer() as fuzzer:
        verdict = fuzzer.run(b"\xff\xff")
    assert (verdict.basis, verdict.action) == (Basis.ERROR, Action.DENY)


def test_well_formed_requests_are_never_an_error() -> None:
    rng = random.Random(7)
    with Fuzzer() as fuzzer:
        for _ in range(2_000):
            fuzzer.run(make_request(rng).SerializeToString())
    assert not [answer for answer in fuzzer.answers if answer.startswith("error")]
