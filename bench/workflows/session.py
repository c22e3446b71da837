"""One client's calls as they come: tabs with their own clocks, and what goes wrong on the way in any session.

A workflow (`shop.py`, `bank.py`) says what a client does; a Tab adds what all clients have in common: time to think, overloaded
services and retries, answers that get lost, reloads, and the back button. How often: `Noise`.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

__all__ = ["IDLE_SECONDS", "Call", "Noise", "Tab", "Workflow", "chance", "identifier", "merged"]

IDLE_SECONDS: Final = 1800.0
"""How long the services let a session be idle."""

Body = Mapping[str, Any] | None


class Call(NamedTuple):
    """One call of a session: when, from its beginning in seconds, and how it ended. `attack`: it is part of the abuse."""

    at: float
    method: str
    path: str
    body: Body
    status: int
    seconds: float
    attack: bool


class Noise(NamedTuple):
    """Shares of calls, and seconds."""

    overloaded: float = 0.006
    """Answered 503, and tried again."""
    lost: float = 0.003
    """Changing calls that succeed, and are sent again because the answer got lost."""
    reloaded: float = 0.02
    """Reading calls that are made twice."""
    back: float = 0.06
    """Reading calls after which the client goes back to one of the last pages."""
    think: float = 6.0
    """Median seconds between calls."""
    decide: float = 1.5
    """Least seconds before a changing call: nobody corrects a form sooner, and how the one before ended is known by then."""


NOISE: Final = Noise()


class Tab:
    """One line of calls with its own clock; all tabs of a session share its random numbers."""

    def __init__(self, rng: random.Random, at: float = 0.0, noise: Noise = NOISE) -> None:
        self.rng = rng
        self.calls: list[Call] = []
        self.at = at
        self.attack = False
        """Whether the changing calls from now on are part of the abuse."""
        self.attack_reads = False
        """Whether the reading calls are too."""
        self._noise = noise
        self._pages: list[str] = []

    def get(self, path: str, status: int = 200) -> None:
        """Read something."""
        self._call("GET", path, None, status, attack=self.attack_reads)
        if status != 200:
            return
        self._pages.append(path)
        if chance(self.rng, self._noise.reloaded):
            self._call("GET", path, None, 200, attack=self.attack_reads)
        if len(self._pages) > 1 and chance(self.rng, self._noise.back):
            self._call("GET", self.rng.choice(self._pages[-4:-1]), None, 200, attack=self.attack_reads)

    def change(self, method: str, path: str, body: Body = None, status: int = 200) -> None:
        """Change something."""
        self._call(method, path, body, status, attack=self.attack)
        if 200 <= status < 300 and chance(self.rng, self._noise.lost):
            self.at += self.rng.uniform(1.0, 8.0)
            self._record(method, path, body, status, attack=self.attack)

    def post(self, path: str, body: Body = None, status: int = 201) -> None:
        """Change something by POST."""
        self.change("POST", path, body, status)

    def idle(self, least: float, most: float) -> None:
        """Do nothing for a while."""
        self.at += self.rng.uniform(least, most)
        self._pages.clear()

    def _call(self, method: str, path: str, body: Body, status: int, *, attack: bool) -> None:
        least = 0.0 if method == "GET" else self._noise.decide
        self.at += min(240.0, max(least, self._noise.think * self.rng.lognormvariate(0.0, 0.9)))
        while chance(self.rng, self._noise.overloaded):
            self._record(method, path, body, 503, attack=attack)
            self.at += self.rng.uniform(1.5, 5.0)
        self._record(method, path, body, status, attack=attack)

    def _record(self, method: str, path: str, body: Body, status: int, *, attack: bool) -> None:
        seconds = 0.02 * self.rng.lognormvariate(0.0, 0.6)
        self.calls.append(Call(self.at, method, path, body, status, seconds, attack))
        self.at += seconds


class Workflow(NamedTuple):
    """What the clients of one workload do: an honest session, or one with a kind of abuse out of `abuses`."""

    name: str
    workload: str
    abuses: tuple[str, ...]
    honest: Callable[[random.Random], list[Call]]
    abusive: Callable[[random.Random, str], list[Call]]


def chance(rng: random.Random, share: float) -> bool:
    """Be true in a share of the cases."""
    return rng.random() < share


def identifier(rng: random.Random) -> str:
    """Make up an identifier."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def merged(*tabs: Tab) -> list[Call]:
    """Put the calls of a session's tabs in the order of time."""
    return sorted((call for tab in tabs for call in tab.calls), key=lambda call: call.at)
