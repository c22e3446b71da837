"""Endpoints from raw paths: which segments are names and which are data (fits `engine/endpoint.py`).

A segment that can't be a name (integer, UUID, date, hash, e-mail, ...) is `{*}` at once. Names become `{*}` where they behave
like data: many distinct ones below the same parent, few repeats, same continuation. The result depends only on the set of paths
and their counts, and the number of paths kept is bounded: beyond the limit those with the smallest hashes stay, exactly counted.
"""

import re
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol

from authz_server.engine.call import CONNECTION
from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.observe import MAX_NAME, is_name
from trainer.locale_codes import is_locale
from trainer.support import UNSEEN, Quorum, Support, add_support, rare_callers, sprayed, to_support

__all__ = ["MAX_PATHS", "EndpointLearner", "Tokens"]

MAX_PATHS: Final = 50_000
_MIN_DISTINCT: Final = 8
"""Names below one parent, alike in what follows, before they can be data."""
_MANY_DISTINCT: Final = 200
"""Names below one parent that no programmer chose."""
_MAX_GROUPS: Final = 64
"""Groups of names below one parent that each name is compared with."""
_MANY_ALIKE: Final = 24
_MOST: Final = 0.75
"""Names below one parent of which most have the same name below them, from which on they are data."""
_NUMBER: Final = re.compile(r"[0-9]+\Z")
_MIN_LOCALES: Final = 3
"""Languages below one parent, alike in what follows, from which on they are data: two letters may also be a word."""
_NEW_RATE: Final = 0.02
"""Share of calls that bring a name seen once, from which on the names are data (Good-Turing)."""
_AHEAD: Final = 10
"""Times as often as the next one comes a name that a programmer chose; the most popular datum is seldom twice ahead."""
_MAX_AHEAD: Final = 8
_MIN_CALLS: Final = 20
_OFTEN: Final = 0.05
"""Share of the calls from which on a reserved name is one among data."""
_RESERVED: Final = frozenset(
    "me my mine self current search query find new create all latest recent count stats summary export import batch bulk upload"
    " login logout register signup refresh verify validate status health config settings".split()
)
"""What programmers put where data stand otherwise, as in `/users/me` beside `/users/{*}`."""

Tokens = tuple[str, ...]


class Segment(Protocol):
    """A path segment as far as it is looked at."""

    @property
    def text(self) -> str:
        """Clear where it is a name, else masked."""

    @property
    def length(self) -> int:
        """In characters, before it was cut."""


class Addressed(Protocol):
    """Where a call went."""

    @property
    def method(self) -> str:
        """The HTTP method, or `CONNECTION`."""

    @property
    def segments(self) -> Sequence[Segment]:
        """The path's, in order."""


class EndpointLearner:
    """Counts (method, path with data segments replaced), then infers templates."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, Tokens], Support] = {}
        self._hash_limit = 1 << 64
        self._sprayers = UNSEEN

    def update(self, call: Addressed, caller: str, window: int = 0) -> None:
        """Count one call."""
        self.add(call.method, call.segments, to_support(caller, window))

    def add(self, method: str, segments: Iterable[Segment], support: Support) -> None:
        """Count calls of one method and path."""
        named = method == CONNECTION  # a port is what is called
        tokens = tuple([one.text if named else _token(one.text, one.length <= MAX_NAME) for one in segments])
        self._add((method, tokens), support)

    def merge(self, other: "EndpointLearner") -> None:
        """Take over another's counts."""
        self._sprayers = self._sprayers.plus(other._sprayers)
        self._hash_limit = min(self._hash_limit, other._hash_limit)
        for key, support in other._paths.items():
            self._add(key, support)
        self._shrink()

    def finish(self, quorum: Quorum) -> tuple[list[str], int, int]:
        """Infer the endpoints (`METHOD /template`, sorted) that enough callers used, and count the callers of the others.

        First those of unusual paths, then those of usual ones by unusual methods: paths are found all the time, methods seldom.
        """
        self._shrink()
        root = _Node()
        for (method, tokens), support in sorted(self._paths.items()):
            root.add(method, tokens, support)
        root.collapse()
        endpoints = root.endpoints(())
        normal = [(method, template) for method, template, support in endpoints if quorum.has(support)]
        usual = {template for _, template in normal}
        paths = [support for _, template, support in endpoints if template not in usual]
        methods = [support for _, template, support in endpoints if template in usual]
        names = sorted(f"{method} /{'/'.join(template)}" for method, template in normal)
        return names, rare_callers([self._sprayers, *paths], quorum), rare_callers(methods, quorum)

    def _add(self, key: tuple[str, Tokens], support: Support) -> None:
        if key in self._paths:
            self._paths[key] = self._paths[key].plus(support)
        elif self._hash_limit == 1 << 64 or _hash(key) < self._hash_limit:
            self._paths[key] = support
            if len(self._paths) > 2 * MAX_PATHS:
                self._shrink()

    def _shrink(self) -> None:
        if len(self._paths) > MAX_PATHS:
            for key in sprayed(self._paths, max(100, MAX_PATHS // 50)):
                self._sprayers = self._sprayers.plus(self._paths.pop(key))
        if len(self._paths) > MAX_PATHS:
            hashes = {key: _hash(key) for key in self._paths}
            self._hash_limit = sorted(hashes.values())[MAX_PATHS]
            self._paths = {key: support for key, support in self._paths.items() if hashes[key] < self._hash_limit}


@lru_cache(maxsize=8192)
def _token(text: str, whole: bool) -> str:  # noqa: FBT001
    """Keep a segment that was a name (`observe.names_itself`), `whole`: no longer than one may be."""
    return text if whole and is_name(text) else WILDCARD


def _hash(key: tuple[str, Tokens]) -> int:
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")


class _Node:
    """A position in the trie of tokens."""

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.methods: dict[str, Support] = {}
        self.total = UNSEEN

    def add(self, method: str, tokens: Tokens, support: Support) -> None:
        node = self
        node.total = node.total.plus(support)
        for token in tokens:
            node = node.children.setdefault(token, _Node())
            node.total = node.total.plus(support)
        add_support(node.methods, method, support)

    def merge(self, other: "_Node") -> None:
        self.total = self.total.plus(other.total)
        for method, support in other.methods.items():
            add_support(self.methods, method, support)
        for token, child in other.children.items():
            if token in self.children:
                self.children[token].merge(child)
            else:
                self.children[token] = child

    def collapse(self) -> None:
        """Turn names that behave like data into `{*}`, from the root down, so that what is below is judged merged."""
        for group in self._alike():
            chosen = self._chosen(group)
            data = [token for token in group if token not in chosen]
            nodes = [self.children[token] for token in data]
            if len(data) < _MIN_DISTINCT or not (_behaves_like_data(nodes) or _alike_below(nodes)):
                data = _numbered(data) or _locales(data)
            for token in data:
                self.children.setdefault(WILDCARD, _Node()).merge(self.children.pop(token))
        for child in self.children.values():
            child.collapse()

    def _chosen(self, group: list[str]) -> set[str]:
        """Find the names among what may be data: reserved ones that come often, and those that are far ahead of the rest."""
        counts = sorted([(self.children[token].total.count, token) for token in group], reverse=True)
        calls = sum(count for count, _ in counts)
        chosen = {token for count, token in counts if token in _RESERVED and count >= max(_MIN_CALLS, _OFTEN * calls)}
        others = [(count, token) for count, token in counts if token not in chosen]
        for place in range(min(_MAX_AHEAD, len(others) - 1), 0, -1):
            if others[place - 1][0] >= max(_MIN_CALLS, _AHEAD * others[place][0]):
                return chosen | {token for _, token in others[:place]}
        return chosen

    def _alike(self) -> list[list[str]]:
        """Group the named children by what follows them, directly or, where data follow, behind these.

        Bounded, since an attacker can invent names that are like no other one: nothing is told of those, after the first groups
        by calls, that are like none of these. The most called one of a group stands for it: were all its members'
        continuations, a few that have something in common with two groups would make one of them.
        """
        groups: list[tuple[set[str], set[str], list[str]]] = []
        names = [token for token in self.children if token not in (WILDCARD, "")]
        for token in sorted(names, key=lambda t: (-self.children[t].total.count, t)):
            child = self.children[token]
            follows, behind = child.follows(), child.behind()
            for known, known_behind, group in groups:
                if _overlap(known, follows) or _overlap(known_behind, behind):
                    group.append(token)
                    break
            else:
                if len(groups) < _MAX_GROUPS:
                    groups.append((follows, behind, [token]))
        return [group for _, _, group in groups]

    def follows(self) -> set[str]:
        """Name what follows: methods, if a path ends here, and the next names."""
        return {f"{method} " for method in self.methods} | set(self.children)

    def behind(self) -> set[str]:
        """Name what follows the children: all that data have in common that data follow, as in /{*}/{*}/issues.

        A slash at the end isn't data, so nothing is behind it.
        """
        found: set[str] = set()
        for token, child in self.children.items():
            if token:
                found |= child.follows()
        return found

    def endpoints(self, prefix: Tokens) -> list[tuple[str, Tokens, Support]]:
        found = [(method, prefix, support) for method, support in self.methods.items()]
        for token, child in self.children.items():
            found += child.endpoints((*prefix, token))
        return found


def _alike_below(children: list[_Node]) -> bool:
    """Tell whether there are more of the same sub-trees than a programmer writes: below most of them stands the same name."""
    if len(children) < _MANY_ALIKE:
        return False
    counts = Tally([token for child in children for token in child.children if token not in (WILDCARD, "")])
    return any(count >= _MOST * len(children) for count in counts.values())


def _numbered(tokens: list[str]) -> list[str]:
    """List the names that go on with many numbers, as `node-0` to `node-29`; versions are no data."""
    stems = {token: _NUMBER.sub("", token) for token in tokens if _NUMBER.search(token)}
    counts = Tally(stems.values())
    return sorted([token for token, stem in stems.items() if counts[stem] >= _MIN_DISTINCT and stem.lower() != "v"])


def _locales(tokens: list[str]) -> list[str]:
    """List the names that are languages, with or without a script or country, as `de` and `pt-BR`."""
    found = [token for token in tokens if is_locale(token)]
    return found if len(found) >= _MIN_LOCALES else []


def _overlap(one: set[str], other: set[str]) -> bool:
    """Tell whether at least half of the smaller set is in the other one; nothing is like nothing."""
    return bool(one) and bool(other) and len(one & other) * 2 >= min(len(one), len(other))


def _behaves_like_data(children: list[_Node]) -> bool:
    if len(children) >= _MANY_DISTINCT:
        return True
    calls = sum(child.total.count for child in children)
    seen_once = sum(child.total.count == 1 for child in children)
    return seen_once / calls > _NEW_RATE
