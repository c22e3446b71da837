"""What usually comes next, from sessions: counts after contexts of up to `MAX_RECENT` endpoints, then a prediction suffix tree.

A next endpoint is normal after a context by quorum (`support.py`). Of the longer contexts those are kept that rule something out
which shorter ones allow. The floor under which an unusual step is nothing is measured: each step is scored as if it hadn't been
seen. Bounded: `_MAX_CONTEXTS` contexts of each length, those whose hash is least (a bottom-k sample: it doesn't depend on how the
traffic was cut, and inventing orders pushes only a share of the others out), and `_MAX_KEPT` in the model.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from authz_server.engine.evidence import surprise
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import MAX_RECENT
from authz_server.engine.sequence import START, Transition, context_key
from trainer.prior import Prior
from trainer.support import QUORUM, Quorum, Support, add_support, rare_callers, to_support

__all__ = ["TransitionLearner", "Transitions"]

_MAX_CONTEXTS: Final = 5_000
"""Contexts of each length above one that are counted."""
_MAX_KEPT: Final = 2_000
"""Contexts of more than one endpoint in a model, the most frequent."""
_MAX_WAITING: Final = 4_096
"""Steps of different contexts or endpoints that wait until they are counted."""
_MIN_STEPS: Final = 30
"""Steps after a context before it may speak."""
_MISSED: Final = 5.0
"""How often what a longer context rules out should have come there, by the shorter one: by chance it comes never in exp(-5)."""
_ODD_SHARE: Final = 4e-5
"""Share of normal steps that may reach the floor: a session has dozens of steps, and is to be alarmed once in a thousand."""

Next = dict[str, Support]
Transitions = tuple[dict[str, Transition], dict[str, Transition], float]
"""What a SequenceModel calls transitions, contexts and floor."""
Tree = Mapping[tuple[str, ...], Transition]
"""Transitions by context."""


class _After(NamedTuple):
    """What came after a context: the steps there, and of these the `n` in all; which are `odd`, and how many votes those have."""

    following: Next
    n: int
    odd: Next
    rare: int

    def votes(self, endpoint: str) -> int:
        """Tell for how many steps one counts: a novelty has one vote a caller."""
        support = self.following[endpoint]
        return len(support.callers) + support.anonymous if endpoint in self.odd else support.count


class TransitionLearner:
    """Counts what comes after every context."""

    def __init__(self) -> None:
        self._next: tuple[dict[tuple[str, ...], Next], ...] = tuple([{} for _ in range(MAX_RECENT)])
        """By the context's length less one."""
        self._largest: list[list[tuple[int, tuple[str, ...]]]] = [[] for _ in range(MAX_RECENT)]
        """Of the contexts that are counted, those of the largest hash come first: (-hash, context)."""
        self._waiting: dict[tuple[tuple[str, ...], str], Support] = {}
        """Steps by what was before them, not counted yet."""

    def update(self, endpoint: str, recent: tuple[str, ...], caller: str, window: int, *, complete: bool) -> None:
        """Count one step after `recent`; of an incomplete history nobody knows what was before that."""
        context = (START, *recent) if complete and len(recent) < MAX_RECENT else recent
        add_support(self._waiting, (context, endpoint), to_support(caller, window))
        if len(self._waiting) >= _MAX_WAITING:
            self._settle()

    def _settle(self) -> None:
        """Count the steps that wait, alike ones at once."""
        for (context, endpoint), steps in self._waiting.items():
            for first in range(len(context)):
                following = self._following(context[first:])
                if following is not None:
                    add_support(following, endpoint, steps)
        self._waiting.clear()

    def merge(self, other: "TransitionLearner") -> None:
        """Take over another's counts."""
        self._settle()
        other._settle()
        for contexts in other._next:
            for context, following in contexts.items():
                mine = self._following(context)
                if mine is not None:
                    for endpoint, support in following.items():
                        add_support(mine, endpoint, support)

    def _following(self, context: tuple[str, ...]) -> Next | None:
        """Find what came after a context; None where it isn't one that is counted."""
        contexts = self._next[len(context) - 1]
        found = contexts.get(context)
        if found is not None or len(context) == 1:
            return contexts.setdefault(context, {}) if found is None else found
        largest = self._largest[len(context) - 1]
        entry = (-crc32(context_key(context).encode("utf-8", "surrogateescape")), context)
        if len(contexts) >= _MAX_CONTEXTS:
            if entry <= largest[0]:
                return None
            del contexts[heapq.heappushpop(largest, entry)[1]]
        else:
            heapq.heappush(largest, entry)
        contexts[context] = {}
        return contexts[context]

    def finish(self, quorum: Quorum, share: float = 1.0) -> Transitions:
        """Make the tree and measure its floor; `share` as for Prior."""
        self._settle()
        by_length = [
            {context: _to_after(following, quorum) for context, following in contexts.items()} for contexts in self._next
        ]
        tree: dict[tuple[str, ...], Transition] = {}
        for length, afters in enumerate(by_length, 1):
            found = _transitions(afters, share, 0 if length == 1 else _MIN_STEPS)
            tree |= {context: one for context, one in found.items() if length == 1 or _rules_out(context, one, tree)}
        longer = sorted((context for context in tree if len(context) > 1), key=lambda context: (-tree[context].n, context))
        for context in longer[_MAX_KEPT:]:
            del tree[context]
        return (
            {context[0]: one for context, one in sorted(tree.items()) if len(context) == 1},
            {context_key(context): one for context, one in sorted(tree.items()) if len(context) > 1},
            _floor(by_length, tree, share),
        )


def _to_after(following: Next, quorum: Quorum) -> _After:
    odd = {name: support for name, support in following.items() if not quorum.has(support)}
    return _After(following, sum([support.count for support in following.values()]), odd, rare_callers(odd.values(), quorum))


def _transitions(afters: Mapping[tuple[str, ...], _After], share: float, least: int) -> dict[tuple[str, ...], Transition]:
    """Tell for contexts of one length, of `least` steps or more, what is normal after them and how surprising the rest is."""
    prior = Prior(share)  # of contexts of one length
    for after in afters.values():
        prior.add(FindingCode.TRANSITION, after.n, after.rare)
    return {
        context: Transition(
            n,
            {name: support.count for name, support in sorted(following.items()) if name not in odd},
            min(prior.surprise(FindingCode.TRANSITION, n, rare), _most(n / share, rare / share)),
        )
        for context, (following, n, odd, rare) in afters.items()
        if n >= least
    }


def _floor(by_length: Sequence[Mapping[tuple[str, ...], _After]], tree: Tree, share: float) -> float:
    """Find the surprise that only `_ODD_SHARE` of the steps reach, each scored as if it hadn't been seen.

    A novelty has one vote a caller, so that nobody can raise the floor alone. What no short context knows, the shortest ones
    tell of exactly; of longer ones only a sample may be counted, which stands for all steps: of 100,000 contexts the 5,000
    sampled ones hardly show what one step in 10,000 does.
    """
    odd: dict[float, float] = defaultdict(float)
    steps = 0
    known: dict[str, set[str]] = {}  # after one endpoint
    for context, after in by_length[0].items():
        steps += after.n
        amounts = _without_itself(context, by_length, tree, share)
        known[context[0]] = {endpoint for endpoint, amount in amounts.items() if not amount}
        for endpoint, amount in amounts.items():
            odd[amount] += after.votes(endpoint)
    sampled = 0
    longer: dict[float, int] = defaultdict(int)
    for afters in by_length[1:]:
        for context, after in afters.items():
            if len(context) < MAX_RECENT and context[0] != START:
                continue
            sampled += after.n
            if not known[context[-1]].isdisjoint(after.following):
                for endpoint, amount in _without_itself(context, by_length, tree, share).items():
                    if endpoint in known[context[-1]]:
                        longer[amount] += after.votes(endpoint)
    for amount, votes in longer.items():
        odd[amount] += votes * steps / sampled
    odd.pop(0.0, None)
    allowed = steps * _ODD_SHARE
    for amount in sorted(odd, reverse=True):
        allowed -= odd[amount]
        if allowed < 0:
            return round(amount + 0.01, 4)
    return 0.0


def _without_itself(
    context: tuple[str, ...], by_length: Sequence[Mapping[tuple[str, ...], _After]], tree: Tree, share: float
) -> dict[str, float]:
    """Score the steps of training after a context as the engine will (`_unusual`), each but for its own observation."""
    views = [(tree[view], by_length[len(view) - 1][view]) for first in range(len(context)) if (view := context[first:]) in tree]
    amounts = {}
    for endpoint in by_length[len(context) - 1][context].following:
        amount = 0.0
        for found, after in views:
            itself = endpoint in after.odd
            if not itself and after.following[endpoint].count > QUORUM:
                break
            others = len(after.odd) > itself
            amount = max(amount, found.surprise if others else _most(found.n / share, 0.0))
        amounts[endpoint] = amount
    return amounts


def _most(n: float, rare: float) -> float:
    """Tell the most that `n` steps, `rare` of them unusual, can say of what never came: less often than once more."""
    return round(surprise((rare + 1) / (n + 2)), 4)


def _rules_out(context: tuple[str, ...], one: Transition, tree: Tree) -> bool:
    """Tell whether a context makes something unusual that the longest shorter one allows."""
    shorter = next((tree[context[first:]] for first in range(1, len(context)) if context[first:] in tree), None)
    if shorter is None:
        return False
    return any(one.n * count / shorter.n >= _MISSED and name not in one.known for name, count in shorter.known.items())
