"""The connections that calls share, one for each call at a time: taken, given back, waited for where an answer is late.

One slow answer is no outage: Redis may have been writing to disk, or this machine busy. A connection whose answer is late is kept
aside until it comes; only where it doesn't come for `patience` has Redis failed. By then calls have ceased to wait: where two
connections are late it is Redis that is, and where one is, the others go on.
"""

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Final

from authz_server.histories.redis_fault import HistoryFault
from authz_server.histories.redis_link import Link

__all__ = ["Links"]

_OVERDUE: Final = 2.0
"""Timeouts after which nobody waits any more for what is late."""


class Links:
    """Connections of one epoch. `take`, `give_back` and `hold` are called by many threads, the others by one."""

    def __init__(self, connect: Callable[[int], Link], size: int, timeout: float, patience: float) -> None:
        """Prepare, without connecting: `size` connections, which wait for `timeout` seconds."""
        self._connect = connect
        self._size = size
        self._timeout = timeout
        self._patience = patience
        self._idle: SimpleQueue[Link] = SimpleQueue()
        self._late: deque[Link] = deque()
        self._links: list[Link] = []
        self._past_trips = (0, 0.0)
        self.epoch = 0

    @property
    def trips(self) -> tuple[int, float]:
        """How many round trips calls waited for, and for how many seconds together."""
        links, (trips, seconds) = self._links, self._past_trips
        return trips + sum(one.trips for one in links), seconds + sum(one.seconds for one in links)

    @property
    def late(self) -> bool:
        """Whether an answer is late."""
        return bool(self._late)

    def take(self, *, wait: bool) -> Link | None:
        """Take a connection; None where there is none, for as long as a call may wait, or where waiting makes no sense."""
        try:
            if self._late:
                if not wait or (len(self._late) > 1 and self._is_overdue()):
                    return None
                wait = not self._is_overdue()  # a packet that got lost holds up one connection, not Redis
            return self._idle.get(timeout=self._timeout) if wait else self._idle.get_nowait()
        except (Empty, IndexError):
            return None

    def _is_overdue(self) -> bool:
        return perf_counter() - self._late[0].asked > _OVERDUE * self._timeout

    def give_back(self, link: Link) -> None:
        """Give a connection back that works."""
        if link.epoch == self.epoch:
            self._idle.put(link)
        else:
            link.close()

    def hold(self, link: Link) -> None:
        """Keep a connection aside whose answer is late."""
        self._late.append(link)

    def wait_for_late(self) -> None:
        """Wait until what is late has come; raises HistoryFault where it doesn't."""
        while self._late:
            link = self._late[0]
            try:
                if link.epoch == self.epoch:
                    link.wait(link.asked + self._patience - perf_counter())
                self._late.popleft()
            except HistoryFault:
                self._late.popleft()
                link.close()
                raise
            self.give_back(link)

    def open(self) -> None:
        """Connect anew; raises HistoryFault."""
        links: list[Link] = []
        try:
            for _ in range(self._size):
                links.append(self._connect(self.epoch))
        except HistoryFault:
            for link in links:
                link.close()
            raise
        self._links = links
        for link in links:
            self._idle.put(link)

    def refresh(self) -> None:
        """Try the connections that are idle; one that was cut is replaced, which is no outage. Raises HistoryFault."""
        for _ in range(self._size):
            link = self.take(wait=False)
            if link is None:
                return
            try:
                link.command("PING")
            except HistoryFault as error:
                if error.late:
                    self.hold(link)
                    continue
                link.close()
                if link not in self._links:
                    continue  # of an epoch that is over
                fresh = self._connect(self.epoch)
                fresh.trips, fresh.seconds = link.trips, link.seconds
                self._links[self._links.index(link)] = link = fresh
            self.give_back(link)

    def drop(self) -> None:
        """Close what is idle or late; a connection that is in use is closed by its call, since the epoch is another."""
        self.epoch += 1
        self._past_trips = self.trips
        self._links = []
        while self._late:
            self._late.popleft().close()
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return
