"""What came of a scenario's strikes: what clients saw and what the decision log says, joined by request id.

Rules that live here only: when a scenario ended as expected, in dry run and when enforced.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.clients import TOO_MANY
from demo.scenarios import Expected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demo.attack import Attack
    from demo.clients import Answer
    from demo.measure import Denial
    from demo.scenarios import Scenario

SHARE_DENIED = 0.95
"""The share of a scenario's strikes that must be denied, or marked as would-be denied in dry run."""
SHARE_PREPARATIONS_REFUSED = 0.05
FEWEST_STRIKES = 20
ALERT_SECONDS = 2.0
"""An alert must come so soon after the end of its call."""
FIRST_SECONDS = 10.0
"""Who goes too fast must have been noticed so soon after the first call: within the volume model's shorter window."""
AFTERWARDS = "afterwards"
"""The basis of an alert in the decision log."""


@dataclass(frozen=True, slots=True)
class Strikes:
    """A scenario in one phase: how many strikes, how many refused, how many marked deny in the decision log.

    Of strikes that are noticed by their pace, `calls` are those from each caller's first marked one on; `opening` is how many
    the worst caller made before, in `seconds`. Of strikes that are alerted, `seconds` is the longest delay of an alert, and
    `later` the callers' calls from then on.
    """

    calls: int
    refused: int
    marked: int
    preparations: int
    preparations_refused: int
    reason: str
    opening: int = 0
    seconds: float = 0.0
    limited: int = 0
    later: int = 0
    later_refused: int = 0


def count_strikes(
    scenario: Scenario, attack: Attack, log: Mapping[str, Sequence[Denial]], alerts: Mapping[str, float]
) -> Strikes:
    """Count a scenario's strikes; the reason is that of the commonest kind of denial. `alerts`: when each came, by request id."""
    alerted = scenario.expected is Expected.ALERTED
    struck = attack.struck
    found = [
        [denial for denial in log.get(answer.request_id, []) if _counts(denial, scenario, alerted=alerted)] for answer in struck
    ]
    opening, seconds = 0, 0.0
    if alerted:
        seconds = max((_delay(answer, alerts) for answer, entry in zip(struck, found, strict=True) if entry), default=0.0)
    if scenario.expected is Expected.LIMITED:
        kept, opening, seconds = _after_opening(struck, attack.callers, found)
        struck, found = [struck[place] for place in kept], [found[place] for place in kept]
    firsts = [entry[0] for entry in found if entry]
    commonest = Counter(first.code for first in firsts).most_common(1)
    return Strikes(
        calls=len(struck),
        refused=sum(answer.denied for answer in struck),
        marked=len(firsts),
        preparations=len(attack.prepared),
        preparations_refused=sum(answer.denied for answer in attack.prepared),
        reason=next((first.reason for first in firsts if first.code == commonest[0][0]), ""),
        opening=opening,
        seconds=seconds,
        limited=sum(answer.denied and answer.status == TOO_MANY for answer in struck),
        later=len(attack.later),
        later_refused=sum(answer.denied for answer in attack.later),
    )


def is_as_expected(expected: Expected, dry: Strikes, real: Strikes) -> bool:
    """Noticed in dry run and nothing refused; when enforced, what the scenario asks for; what any visitor does is allowed."""
    quiet = (
        dry.marked >= SHARE_DENIED * dry.calls
        and dry.refused + dry.later_refused + dry.preparations_refused == 0
        and real.preparations_refused <= SHARE_PREPARATIONS_REFUSED * real.preparations
        and min(dry.calls, real.calls) >= FEWEST_STRIKES
    )
    if expected is Expected.ALERTED:
        prompt = max(dry.seconds, real.seconds) <= ALERT_SECONDS
        marked = real.marked >= SHARE_DENIED * real.calls
        return quiet and prompt and marked and real.later_refused >= max(1, SHARE_DENIED * real.later)
    if real.refused < SHARE_DENIED * real.calls:
        return False
    if expected is Expected.LIMITED:
        return quiet and max(dry.seconds, real.seconds) <= FIRST_SECONDS and real.limited >= SHARE_DENIED * real.refused
    return quiet


def in_words(expected: Expected, dry: Strikes, real: Strikes) -> str:
    """Tell both phases."""
    if expected is Expected.ALERTED:
        words = f"{real.marked}/{real.calls} alerted, the slowest {real.seconds:.1f} s after the call"
        words += f"; then {real.later_refused}/{real.later} refused"
        words += f"; dry run: {dry.marked}/{dry.calls} alerted, {dry.refused + dry.later_refused} refused"
    else:
        words = f"{real.refused}/{real.calls} denied; dry run: {dry.marked}/{dry.calls} noticed, {dry.refused} refused"
    if expected is Expected.LIMITED:
        words = f"{real.opening} calls in {real.seconds:.1f} s, then {words}"
    if real.preparations_refused:
        words += f"; {real.preparations_refused}/{real.preparations} harmless calls denied"
    return words


def _counts(denial: Denial, scenario: Scenario, *, alerted: bool) -> bool:
    return denial.workload in scenario.workloads and (denial.basis == AFTERWARDS) == alerted


def _delay(answer: Answer, alerts: Mapping[str, float]) -> float:
    """Tell how long after the call's end its alert came; infinite where it wasn't seen to come."""
    return max(0.0, alerts.get(answer.request_id, float("inf")) - answer.ended)


def _after_opening(
    struck: Sequence[Answer], callers: Sequence[str], found: Sequence[Sequence[Denial]]
) -> tuple[list[int], int, float]:
    """Find the places of the strikes from each caller's first marked one on; and how many it made before, in how long."""
    began: dict[str, float] = {}
    before: Counter[str] = Counter()
    took: dict[str, float] = {}
    kept: list[int] = []
    for place, (answer, caller, entry) in enumerate(zip(struck, callers, found, strict=True)):
        start = answer.ended - answer.seconds
        began[caller] = min(start, began.get(caller, start))
        if caller not in took and not entry:
            before[caller] += 1
            continue
        if caller not in took:
            took[caller] = start - began[caller]
        kept.append(place)
    unnoticed = began.keys() - took.keys()
    return kept, max(before.values(), default=0), float("inf") if unnoticed else max(took.values(), default=float("inf"))
