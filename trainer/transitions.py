"""What usually comes next, from sessions: counts after contexts of up to `MAX_RECENT` endpoints, then a prediction suffix tree.

A next endpoint is normal after a context by quorum (`support.py`). Of the longer contexts those are kept that rule something out
which shorter ones allow. The floor under which an unusual step is nothing is measured: each step is scored as if it hadn't been
seen. Bounded: `_MAX_CONTEXTS` contexts of each length, those whose hash is least (a bottom-k sample: it doesn't depend on how the
traffic was cut, and inventing orders pushes only a share of the others out), and `_MAX_KEPT` in the model.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from authz_server.engine.evidence import surprise
from authz_server.engine.finding import FindingCode
from authz_server.engine.history import MAX_RECENT
from authz_server.engine.sequence import START, Transition, context_key
from trainer.prior import Prior
from trainer.support import QUORUM, Quorum, Support, rare_callers

__all__ = ["TransitionLearner", "Transitions"]

_MAX_CONTEXTS: Final = 5_000
"""Contexts of each length above one that are counted."""
_MAX_KEPT: Final = 2_000
"""Contexts of more than one endpoint in a model, the most frequent."""
_MIN_STEPS: Final = 30
"""Steps after a context before it may speak."""
_MISSED: Final = 5.0
"""How often what a longer context rules out should have come there, by the shorter one: by chance it comes never in exp(-5)."""
_ODD_SHARE: Final = 4e-5
"""Share of normal steps that may reach the floor: a session has dozens of steps, and is to be alarmed once in a thousand."""

Next = dict[str, Support]
Transitions = tuple[dict[str, Transition], dict[str, Transition], float]
"""What a SequenceModel calls transitions, contexts and floor."""


class TransitionLearner:
    """Counts what comes after every context."""

    def __init__(self) -> None:
        self._next: tuple[dict[tuple[str, ...], Next], ...] = tuple([{} for _ in range(MAX_RECENT)])
        """By the context's length less one."""
        self._largest: list[list[tuple[int, tuple[str, ...]]]] = [[] for _ in range(MAX_RECENT)]
        """Of the contexts that are counted, those of the largest hash come first: (-hash, context)."""

    def update(self, endpoint: str, recent: tuple[str, ...], caller: str, window: int, *, complete: bool) -> None:
        """Count one step after `recent`; of an incomplete history nobody knows what was before that."""
        context = (START, *recent) if complete and len(recent) < MAX_RECENT else recent
        for first in range(len(context)):
            following = self._following(context[first:])
            if following is not None:
                if endpoint not in following:
                    following[endpoint] = Support()
                following[endpoint].add(caller, window)

    def merge(self, other: "TransitionLearner") -> None:
        """Take over another's counts."""
        for contexts in other._next:
            for context, following in contexts.items():
                mine = self._following(context)
                if mine is not None:
                    for endpoint, support in following.items():
                        mine.setdefault(endpoint, Support()).merge(support)

    def counted(self) -> list[int]:
        """Tell how many contexts of each length are counted, the shortest first."""
        return [len(contexts) for contexts in self._next]

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
        by_length = [self._transitions(contexts, quorum, share) for contexts in self._next]
        tree = dict(by_length[0])
        for found in by_length[1:]:
            tree |= {context: one for context, one in found.items() if one.n >= _MIN_STEPS and _rules_out(context, one, tree)}
        longer = sorted((context for context in tree if len(context) > 1), key=lambda context: (-tree[context].n, context))
        for context in longer[_MAX_KEPT:]:
            del tree[context]
        return (
            {context[0]: one for context, one in sorted(tree.items()) if len(context) == 1},
            {context_key(context): one for context, one in sorted(tree.items()) if len(context) > 1},
            self._floor(tree, quorum, share),
        )

    @staticmethod
    def _transitions(contexts: Mapping[tuple[str, ...], Next], quorum: Quorum, share: float) -> dict[tuple[str, ...], Transition]:
        """Tell for contexts of one length what is normal after them, and how often something new came."""
        prior = Prior(share)  # of contexts of one length
        counted = {}
        for context, following in contexts.items():
            n, rare = sum(support.count for support in following.values()), rare_callers(following.values(), quorum)
            counted[context] = (n, rare)
            prior.add(FindingCode.TRANSITION, n, rare)
        return {
            context: Transition(
                n,
                {name: support.count for name, support in sorted(contexts[context].items()) if quorum.has(support)},
                min(prior.surprise(FindingCode.TRANSITION, n, rare), _most(n / share, rare / share)),
            )
            for context, (n, rare) in counted.items()
        }

    def _floor(self, tree: Mapping[tuple[str, ...], Transition], quorum: Quorum, share: float) -> float:
        """Find the surprise that only `_ODD_SHARE` of the steps reach, each scored as if it hadn't been seen.

        A novelty has one vote a caller, so that nobody can raise the floor alone. What no short context knows, the shortest ones
        tell of exactly; of longer ones only a sample may be counted, which stands for all steps: of 100,000 contexts the 5,000
        sampled ones hardly show what one step in 10,000 does.
        """
        odd: dict[float, float] = defaultdict(float)
        steps = 0
        for context, following in self._next[0].items():
            for endpoint, support in following.items():
                steps += support.count
                amount = self._without_itself(context, endpoint, tree, quorum, share)
                odd[amount] += _votes(support, quorum)
        sampled = 0
        longer: dict[float, int] = defaultdict(int)
        for contexts in self._next[1:]:
            for context, following in contexts.items():
                if len(context) < MAX_RECENT and context[0] != START:
                    continue
                for endpoint, support in following.items():
                    sampled += support.count
                    if not self._without_itself(context[-1:], endpoint, tree, quorum, share):
                        longer[self._without_itself(context, endpoint, tree, quorum, share)] += _votes(support, quorum)
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
        self, context: tuple[str, ...], endpoint: str, tree: Mapping[tuple[str, ...], Transition], quorum: Quorum, share: float
    ) -> float:
        """Score a step of training as the engine will (`_unusual`), but for its own observation."""
        amount = 0.0
        for first in range(len(context)):
            found = tree.get(context[first:])
            if found is None:
                continue
            following = self._next[len(context) - first - 1][context[first:]]
            if quorum.has(following[endpoint]) and following[endpoint].count > QUORUM:
                break
            others = rare_callers((one for name, one in following.items() if name != endpoint), quorum)
            amount = max(amount, found.surprise if others else _most(found.n / share, 0.0))
        return amount


def _votes(support: Support, quorum: Quorum) -> int:
    return support.count if quorum.has(support) else len(support.callers) + support.anonymous


def _most(n: float, rare: float) -> float:
    """Tell the most that `n` steps, `rare` of them unusual, can say of what never came: less often than once more."""
    return round(surprise((rare + 1) / (n + 2)), 4)


def _rules_out(context: tuple[str, ...], one: Transition, tree: Mapping[tuple[str, ...], Transition]) -> bool:
    """Tell whether a context makes something unusual that the longest shorter one allows."""
    shorter = next((tree[context[first:]] for first in range(1, len(context)) if context[first:] in tree), None)
    if shorter is None:
        return False
    return any(one.n * count / shorter.n >= _MISSED and name not in one.known for name, count in shorter.known.items())
