"""The callers' histories in Redis or Valkey: shared by all replicas, one round trip a call, kept when this process ends.

a Call is matched -> Visit -> one script -> its caller's Past      on the request path, for at most `timeout` seconds
refused -> Errand, sent and not waited for
its outcome is known -> Errand -> run behind the answers           one thread, many in one round trip

One slow answer costs its own call its history (`redis_links.py`). A Redis that fails costs no call more than that: asking ends,
and the thread behind the answers goes on until Redis works again. Meanwhile nobody can tell what came before a call, since
another replica may have seen it: its past counts as never watched, which breaks no rule, and its pace is what this process saw
of it (`local_paces.py`). What was missed is a hole. Where its callers are few, their histories begin anew, incomplete; else all
do (`redis_scripts.py`), and an incomplete history condemns nobody. After an outage and after a hole nobody is judged for a while,
because other replicas may take longer to find back, and tell only then what they missed.
"""

import logging
import random
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

from authz_server.engine.errors import SettingError
from authz_server.engine.history import Past
from authz_server.engine.record import OutcomeRecord
from authz_server.histories.local_paces import LocalPaces
from authz_server.histories.redis_backlog import Backlog
from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_errand import Errand, to_beat, to_leave, to_question, to_refusal, to_settlement
from authz_server.histories.redis_fault import EXPECTED, Fault, HistoryFault
from authz_server.histories.redis_link import Link
from authz_server.histories.redis_links import Links
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
"""What the thread behind the answers waits for at least; a Redis that is silent for longer has failed."""

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
        patience = max(timeout, _WORKER_SECONDS)
        self._connect_worker = connector(url, patience)
        self._links = Links(connector(url, timeout), threads, timeout, patience)
        self._link: Link | None = None
        self._replica = replica
        self._settling = settling
        self._settling_us = str(int(settling * 1e6))
        self._settled_at = 0.0
        self._ready = False
        self._lock = threading.Lock()
        self._next_beat = 0.0
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._worker = threading.Thread(target=self._work, name="history", daemon=True)
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
        return self._links.trips

    def start(self) -> None:
        """Connect, and begin to work behind the answers; a Redis that is out of reach is told, and tried again.

        Raises SettingError where it is one that will never do: a cluster.
        """
        self._recover(first=True)
        if self.faults[Fault.CLUSTER]:
            raise SettingError(f"history: expected {EXPECTED[Fault.CLUSTER]}, got cluster_enabled:1")
        self._worker.start()

    def close(self, seconds: float = 1.0) -> None:
        """Bring what waits to Redis, for at most so long, and end."""
        self._closing.set()
        self._wake.set()
        self._worker.join(seconds + _WORKER_SECONDS)

    def visit(self, visit: Visit) -> Past:
        """As Histories has it; a past that was never watched where Redis can't be asked."""
        doubted = self.outcomes.in_doubt  # asked before, since an answer may be older than what ends the doubt
        link = self._ask(visit) if visit.session or visit.footprint is not None else None
        paces = self._paces.visit(visit)  # while Redis works
        answer = self._answer(link, visit) if link is not None else None
        if answer is None:
            return to_unknown(paces)
        packed, *counted = answer
        if visit.footprint is not None:
            paces = to_paces(*counted)
        if packed is None or doubted or self.outcomes.in_doubt or time.perf_counter() < self._settled_at:
            return to_unknown(paces)
        return to_past(packed, paces)

    def _ask(self, visit: Visit) -> Link | None:
        """Send the question; None where Redis can't be asked."""
        question = to_question(visit, self._settling_us)
        link = self._links.take(wait=True) if self._ready else None
        if link is None:
            if self._ready:
                self._count(Fault.TIMEOUT if self._links.late else Fault.BUSY)
            self._miss(visit)
            return None
        try:
            link.ask(question)
        except HistoryFault as error:
            self._fail(error.fault, link)
            self._miss(visit)
            return None
        except ValueError:  # text that can't be encoded: nothing was sent
            self._links.give_back(link)
            raise
        return link

    def _answer(self, link: Link, visit: Visit) -> list[Any] | None:
        """Wait for a history, None after a hole, and three paces; None where the answer doesn't come in time."""
        try:
            answer: list[Any] = link.answer()
        except HistoryFault as error:
            self._miss(visit)
            if error.late:
                self._hold(link)
            else:
                self._fail(error.fault, link)
            return None
        self._links.give_back(link)
        return answer

    def take_back(self, visit: Visit, *, relieves: bool = False) -> None:
        """As Histories has it. Sent at once, so that it comes before the caller's next call; nobody waits until it is done."""
        self._paces.take_back(visit, relieves=relieves)
        refusal = to_refusal(visit, relieves=relieves)
        if visit.footprint is None and not (visit.session and visit.endpoint):
            return
        link = self._links.take(wait=False) if self._ready else None
        if link is None:
            self._send(refusal, outcome=False)
            return
        try:
            link.send(refusal)
        except HistoryFault as error:
            if error.late:
                self._hold(link)
                return
            self._fail(error.fault, link)
            self._send(refusal, outcome=False)
            return
        self._links.give_back(link)

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

    def _hold(self, link: Link) -> None:
        """Let the thread behind the answers wait for an answer that is late."""
        self._count(Fault.TIMEOUT)
        self._links.hold(link)
        self._wake.set()

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
            changes = self._ready and link.epoch == self._links.epoch
            if changes:
                self._ready = False
        if changes:
            _warn_degraded(fault)
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
            link = self._link
            assert link is not None
            try:
                self._links.wait_for_late()
                self._catch_up(link)
                if time.monotonic() > next_ping:
                    self._links.refresh()
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
        link: Link | None = None
        try:
            link = self._connect_worker(self._links.epoch)
            self._beat(link, returns=True)
            link.run(_TRIAL)
            self.outcomes.look_after(link)
            self._links.open()
        except HistoryFault as error:
            self._count(error.fault)
            if link is not None:
                link.close()
            if first:
                _warn_degraded(error.fault)
            return
        self._link = link
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
        self.holes += link.run(to_beat(self._replica, unnamed=unnamed > 0, returns=returns))
        self.outcomes.forgive(unnamed)
        self._next_beat = time.monotonic() + _BEAT_SECONDS

    def _drop_links(self) -> None:
        self._links.drop()
        if self._link is not None:
            self._link.close()

    def _end(self) -> None:
        """Bring what waits, say goodbye (so that nobody takes our silence for an outage), close."""
        if self._ready and self._link is not None:
            self._ready = False
            try:
                self._catch_up(self._link)
                self._link.run(to_leave(self._replica))
            except HistoryFault as error:
                self._count(error.fault)
        self._drop_links()


def _warn_degraded(fault: Fault) -> None:
    _log.warning("history_degraded", extra={"fields": {"fault": fault.value, "expected": EXPECTED[fault]}})
