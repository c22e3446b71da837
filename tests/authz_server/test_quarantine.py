"""Who is refused for a while."""

from authz_server.elsewhere import Quarantined
from authz_server.engine.finding import FindingCode
from authz_server.quarantine import Quarantine, to_quarantined
from tests.factories_shell import finding

MALLORY = to_quarantined("mallory", 60.0, finding(), "d-1")


def test_a_caller_is_refused_until_its_time_is_over_and_nobody_else_is() -> None:
    quarantine = Quarantine()
    assert quarantine.of("mallory", 100.0) is None
    quarantine.put(MALLORY, 100.0)
    assert [MALLORY.finding, None] == [quarantine.of("mallory", now) for now in (159.9, 160.0)]
    assert quarantine.of("bob", 100.0) is None


def test_the_reason_names_the_decision_and_what_was_found() -> None:
    assert FindingCode.QUARANTINE is MALLORY.finding.code
    assert f"this caller is in quarantine since decision d-1: {finding().text}" == MALLORY.finding.text
    assert (finding().seen, finding().chance) == (MALLORY.finding.seen, MALLORY.finding.chance)


def test_who_is_put_in_again_stays_for_the_new_time() -> None:
    quarantine = Quarantine()
    quarantine.put(MALLORY, 100.0)
    quarantine.put(MALLORY, 130.0)
    assert MALLORY.finding == quarantine.of("mallory", 189.0)


def test_of_too_many_the_earliest_are_let_go() -> None:
    quarantine = Quarantine()
    quarantine.put(MALLORY, 0.0)
    quarantine.put(Quarantined("bob", 60.0, finding()), 0.0)
    quarantine.put(MALLORY, 0.0)
    for number in range(9_999):
        quarantine.put(Quarantined(f"s{number}", 60.0, finding()), 0.0)
    assert [MALLORY.finding, None] == [quarantine.of(session, 1.0) for session in ("mallory", "bob")]
