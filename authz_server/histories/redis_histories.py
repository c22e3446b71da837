"""The callers' histories in Redis or Valkey: shared by all replicas, one round trip a call, kept when this process ends.

a Call is matched -> Visit -> one script -> its caller's Past      on the request path, for at most `timeout` seconds
refused -> Errand, sent and not waited for
its outcome is known -> Errand -> run behind the answers           one thread, many in one round trip

A Redis that fails costs no call more than that: the first failure ends asking, and the thread behind the answers goes on until
Redis works again. Meanwhile nobody can tell what came before a call, since another replica may have seen it: its past counts as
never watched, which breaks no rule, and its pace is what this process saw of it (`local_paces.py`). What was missed is a hole.
Where its callers are few, their histories begin anew, incomplete; else all do (`redis_scripts.py`), and an incomplete history
condemns nobody. After an outage and after a hole nobody is judged for a while, because other replicas may take longer to find
back, and tell only then what they missed.
"""

import logging
import random
import threading
import time
from collections import Counter
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from authz_server.engine.history import Past
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.local_paces import LocalPaces
from authz_server.histories.redis_backlog import Backlog
from authz_server.histories.redis_errand import Errand, to_beat, to_leave, to_question, to_refusal, to_settlement
from authz_server.histories.redis_link import Fault, HistoryFault, Link, connector
from authz_server.histories.redis_paces import to_paces
from authz_server.histories.redis_past import to_past, to_unknown
from authz_server.histories.redis_scripts import MARK_KEY, SETTLE, SILENT_SECONDS, decision_key
from authz_server.histories.visit import Visit

__all__ = ["RedisHistories"]

_BEAT_SECONDS: Final = 1.0
_PING_SECONDS: Final = 15.0
"""How often idle connections are tried, so that one that was cut meanwhile isn't found out by a call."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_STABLE_SECONDS: Final = 10.0
"""A Redis that fails again sooner is left alone for longer."""
_WORKER_SECONDS: Final = 0.5
"""What the thread behind the answers waits for at least."""

_TRIAL: Final = Errand(SETTLE, (MARK_KEY, decision_key("")), ("d", "stays"))
"""Settles nothing; makes the script known, so that a refusal which nobody waits for isn't late."""

_log = logging.getLogger(__name__)


class RedisHistories:
    """What Histories asks for, by way of Redis, between `start` and `close`.

    `outcomes` counts what was joined. `holes`: how often all histories began anew.
    """

    def __init__(self, url: str, timeout: float, threads: int, replica: str, settling: float = SILENT_SECONDS) -> None:
        """Prepare, without connecting; raises SettingError.

        As many calls at a time as there are `threads` find a connection. `replica` tells this one from all others, also after a
        restart. `settling`: seconds after an outage or a hole in which nobody is judged.
        """
        self._connect = connector(url, timeout)
        self._connect_worker = connector(url, max(timeout, _WORKER_SECONDS))
        self._timeout = timeout
        self._size = threads
        self._replica = replica
        self._settling = settling
        self._settling_us = str(int(settling * 1e6))
        self._settled_at = 0.0
        self._idle: SimpleQueue[Link] = SimpleQueue()
        self._links: list[Link] = []
        self._epoch = 0
        self._ready = False
        self._lock = threading.Lock()
        self._next_beat = 0.0
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._worker = threading.Thread(target=self._work, name="history", daemon=True)
        self._past_trips = (0, 0.0)
        self._paces = LocalPaces()
        self.outcomes = Backlog()
        self.faults: Counter[Fault] = Counter()
        self.holes = 0

    def __len__(self) -> int:
        """Count those that this process counts, in case Redis can't."""
        return len(self._paces)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def degraded(self) -> bool:
        """Whether calls are answered without their callers' histories."""
        return not self._ready

    @property
    def trips(self) -> tuple[int, float]:
        """How many round trips calls waited for, and for how many seconds together."""
        links, (trips, seconds) = self._links, self._past_trips
        return trips + sum(one.trips for one in links), seconds + sum(one.seconds for one in links)

    def start(self) -> None:
        """Connect, and begin to work behind the answers; a Redis that is out of reach is told, and tried again."""
        self._recover(first=True)
        self._worker.start()

    def close(self, seconds: float = 1.0) -> None:
        """Bring what waits to Redis, for at most so long, and end."""
        self._closing.set()
        self._wake.set()
        self._worker.join(seconds + _WORKER_SECONDS)

    def visit(self, visit: Visit) -> Past:
        """As Histories has it; a past that was never watched where Redis can't be asked."""
        paces = self._paces.visit(visit)
        answer = self._ask(visit) if visit.session or visit.footprint is not None else None
        if answer is None:
            return to_unknown(paces)
        packed, *counted = answer
        if visit.footprint is not None:
            paces = to_paces(*counted)
        if packed is None or self.outcomes.in_doubt or time.perf_counter() < self._settled_at:
            return to_unknown(paces)
        return to_past(packed, paces)

    def _ask(self, visit: Visit) -> list[Any] | None:
        """Run the script: a history, None after a hole, and three paces; None where Redis can't be asked."""
        if not self._ready:
            self._miss(visit)
            return None
        try:
            link = self._idle.get(timeout=self._timeout)
        except Empty:
            self._count(Fault.BUSY)
            self._miss(visit)
            return None
        began = time.perf_counter()
        try:
            answer: list[Any] = link.run(to_question(visit, self._settling_us))
        except HistoryFault as error:
            self._fail(error.fault, link)
            self._miss(visit)
            return None
        link.trips += 1
        link.seconds += time.perf_counter() - began
        self._give_back(link)
        return answer

    def take_back(self, visit: Visit) -> None:
        """As Histories has it. Sent at once, so that it comes before the caller's next call; nobody waits until it is done."""
        self._paces.take_back(visit)
        if visit.footprint is None and not (visit.session and visit.endpoint):
            return
        try:
            link = self._idle.get_nowait() if self._ready else None
        except Empty:
            link = None
        if link is None:
            self._send(to_refusal(visit), outcome=False)
            return
        try:
            link.send(to_refusal(visit))
        except HistoryFault as error:
            self._fail(error.fault, link)
            self._send(to_refusal(visit), outcome=False)
            return
        self._give_back(link)

    def settle(self, record: OutcomeRecord) -> None:
        """As Histories has it, but behind the access log's stream."""
        self._paces.settle(record)
        errand = to_settlement(record)
        if errand is not None:
            self._send(errand, outcome=True)
        else:
            self.outcomes.unknown += 1

    def _send(self, errand: Errand, *, outcome: bool) -> None:
        self.outcomes.send(errand, outcome=outcome)
        if self._ready:
            self._wake.set()

    def _give_back(self, link: Link) -> None:
        if link.epoch == self._epoch:
            self._idle.put(link)
        else:
            link.close()

    def _miss(self, visit: Visit) -> None:
        if not visit.session:
            return
        self.outcomes.miss(visit)
        if self._ready:
            self._wake.set()

    def _count(self, fault: Fault) -> None:
        with self._lock:
            self.faults[fault] += 1

    def _fail(self, fault: Fault, link: Link) -> None:
        """Stop asking; the thread behind the answers takes over."""
        link.close()
        with self._lock:
            self.faults[fault] += 1
            changes = self._ready and link.epoch == self._epoch
            if changes:
                self._ready = False
        if changes:
            _log.warning("history_degraded", extra={"fields": {"fault": fault.value}})
            self._wake.set()

    # From here on: the thread behind the answers, and `start` before it.

    def _work(self) -> None:
        pause, since = 0.0, time.monotonic()
        next_ping = since + _PING_SECONDS
        while not self._closing.is_set():
            if not self._ready:
                if time.monotonic() - since > _STABLE_SECONDS:
                    pause = 0.0
                self._closing.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311, spreads replicas, no secret
                pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * pause))
                self._recover()
                since = time.monotonic()
                continue
            self._wake.wait(_BEAT_SECONDS)
            self._wake.clear()
            link = self._links[0]
            try:
                self._catch_up(link)
                if time.monotonic() > next_ping:
                    self._refresh()
                    next_ping = time.monotonic() + _PING_SECONDS
            except HistoryFault as error:
                self._fail(error.fault, link)
            except Exception:
                # This thread alone brings a history back, so nothing may end it.
                _log.exception("history_errands_failed")
                self._fail(Fault.REFUSED, link)
        self._end()

    def _recover(self, *, first: bool = False) -> None:
        """Connect anew, look after what was missed, and let calls ask again."""
        self._drop_links()
        links: list[Link] = []
        try:
            links.append(self._connect_worker(self._epoch))
            self._beat(links[0], returns=True)
            links[0].run(_TRIAL)
            self.outcomes.look_after(links[0])
            links += [self._connect(self._epoch) for _ in range(self._size)]
        except HistoryFault as error:
            self._count(error.fault)
            for link in links:
                link.close()
            if first:
                _log.warning("history_degraded", extra={"fields": {"fault": error.fault.value}})
            return
        self._links = links
        for link in links[1:]:
            self._idle.put(link)
        if not first:
            self._settled_at = time.perf_counter() + self._settling
        self._ready = True
        self._wake.set()
        if not first:
            _log.warning("history_recovered", extra={"fields": {"missed": self.outcomes.missed, "holes": self.holes}})

    def _catch_up(self, link: Link) -> None:
        """Say that we are there, look after what was missed, run the errands."""
        if time.monotonic() >= self._next_beat or self.outcomes.unnamed:
            self._beat(link)
        self.outcomes.look_after(link)
        self.outcomes.run(link)

    def _beat(self, link: Link, *, returns: bool = False) -> None:
        unnamed = self.outcomes.unnamed
        self.holes += link.run(to_beat(self._replica, unnamed=unnamed, returns=returns))
        if unnamed:
            self.outcomes.forgive()
        self._next_beat = time.monotonic() + _BEAT_SECONDS

    def _refresh(self) -> None:
        """Try the connections that are idle; one that was cut is replaced, which is no outage."""
        for _ in range(self._size):
            try:
                link = self._idle.get_nowait()
            except Empty:
                return
            try:
                link.ping()
            except HistoryFault:
                link.close()
                if link not in self._links:
                    continue  # of an epoch that is over
                fresh = self._connect(self._epoch)
                fresh.trips, fresh.seconds = link.trips, link.seconds
                self._links[self._links.index(link)] = link = fresh
            self._idle.put(link)

    def _drop_links(self) -> None:
        """Close what is idle; a connection that is in use is closed by its call, since the epoch is another."""
        self._epoch += 1
        self._past_trips = self.trips
        links, self._links = self._links, []
        if links:
            links[0].close()
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def _end(self) -> None:
        """Bring what waits, say goodbye (so that nobody takes our silence for an outage), close."""
        if self._ready:
            self._ready = False
            try:
                self._catch_up(self._links[0])
                self._links[0].run(to_leave(self._replica))
            except HistoryFault as error:
                self._count(error.fault)
        self._drop_links()
