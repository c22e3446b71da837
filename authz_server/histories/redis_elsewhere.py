"""What replicas tell each other through Redis or Valkey, behind the answers: sightings, how calls ended, quarantines.

Whoever answers adds to a queue. One thread, that which raises alerts, brings the queues to Redis and gets the news, in one round
trip. Redis that can't be asked means that nobody knows what others saw (`News.age` is infinite), so nothing is taken for missing;
a quarantine that was heard of goes on. What can't be told (a queue that overflows) makes this replica one that hasn't told for as
long as it could matter.

A request's sightings are a set, a call that is waited for is the name of the replica that waits, what others tell it is a list of
its own: each expires within a minute or so. Quarantines are one stream, the oldest going first where there are too many.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from authz_server.elsewhere import News, Quarantined, Sighting
from authz_server.engine.finding import Finding
from authz_server.engine.record import OutcomeRecord
from authz_server.histories import redis_news_scripts as scripts
from authz_server.histories.redis_connector import connector
from authz_server.histories.redis_errand import Errand
from authz_server.histories.redis_fault import EXPECTED, Fault, HistoryFault
from authz_server.histories.redis_link import Link
from authz_server.histories.visit import join_key

__all__ = ["MAX_TOLD", "RedisElsewhere"]

MAX_TOLD: Final = 20_000
"""What waits to be told, of each kind; the oldest goes first."""
_BATCH: Final = 100
"""Things told by one script."""
_TIMEOUT_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
_SETTLING_SECONDS: Final = 3.0
_ENDED_AFTER_SECONDS: Final = 0.5
"""How long an outcome is held back, so that whoever expects it has said so."""
_MAX_FINDING_BYTES: Final = 4096

_log = logging.getLogger(__name__)
_ENCODER: Final = msgspec.msgpack.Encoder()
_SIGHTING: Final = msgspec.msgpack.Decoder(Sighting)
_OUTCOME: Final = msgspec.msgpack.Decoder(OutcomeRecord)
_FINDING: Final = msgspec.msgpack.Decoder(Finding)


class RedisElsewhere:
    """What Elsewhere asks for, by way of Redis. Connects when first asked for news, and again after a failure."""

    def __init__(
        self, url: str, replica: str, settling: float = _SETTLING_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare, without connecting; raises SettingError.

        `replica` tells this one from all others, also after a restart. `settling`: seconds after connecting for which nobody
        knows what others saw, since they may take longer to find back, and tell only then.
        """
        self._connect = connector(url, _TIMEOUT_SECONDS)
        self._replica = replica
        self._settling = settling
        self._clock = clock
        self._link: Link | None = None
        self._next_try = -math.inf
        self._settled_at = -math.inf
        self._sightings: deque[tuple[str, Sighting]] = deque(maxlen=MAX_TOLD)
        self._expected: deque[str] = deque(maxlen=MAX_TOLD)
        self._ended: deque[tuple[float, OutcomeRecord]] = deque(maxlen=MAX_TOLD)
        self._quarantined: deque[Quarantined] = deque(maxlen=MAX_TOLD)
        self._incomplete_until = -math.inf
        self._cursor = "-"
        self.degraded = False

    def saw(self, request_id: str, sighting: Sighting) -> None:
        """As Elsewhere has it."""
        if len(self._sightings) >= MAX_TOLD:
            self._incomplete_until = self._clock() + scripts.KEPT_SECONDS
        self._sightings.append((request_id, sighting))

    def expects(self, decision_id: str, join_key: str) -> None:
        """As Elsewhere has it."""
        self._expected.append(scripts.expected_key(decision_id))
        if not join_key.startswith(" "):
            self._expected.append(scripts.expected_key(_digest(join_key)))

    def ended(self, record: OutcomeRecord) -> None:
        """As Elsewhere has it."""
        if record.id or record.request_id:
            self._ended.append((self._clock() + _ENDED_AFTER_SECONDS, record))

    def quarantine(self, quarantined: Quarantined) -> None:
        """As Elsewhere has it."""
        self._quarantined.append(quarantined)

    def exchange(self, asked: Sequence[str]) -> News:
        """As Elsewhere has it; no news where Redis can't be asked."""
        now = self._clock()
        unknown = News((frozenset(),) * len(asked), (), (), math.inf)
        if self._link is None and now < self._next_try:
            return unknown
        told = self._to_tell(now)
        try:
            if self._link is None:
                self._link = self._connect(0)
                self._settled_at = now + self._settling
            answers = self._link.run_all([*[errand for errand, _, _ in told], self._to_news(now), *map(_to_question, asked)])
        except HistoryFault as error:
            self._fail(error.fault, now)
            return unknown
        news, *seen = answers[len(told) :]
        if isinstance(news, Fault) or any(isinstance(one, Fault) for one in seen):
            self._fail(next(one for one in (news, *seen) if isinstance(one, Fault)), now)
            return unknown
        for (_, queue, count), answer in zip(told, answers, strict=False):
            if isinstance(answer, Fault):
                self._incomplete_until = now + scripts.KEPT_SECONDS
            for _ in range(min(count, len(queue))):
                queue.popleft()
        if self.degraded:
            self.degraded = False
            _log.warning("sightings_recovered")
        return self._to_read(news, seen, settled=now >= self._settled_at)

    def close(self) -> None:
        """Tell what waits, and that this replica ends, so that nobody waits for what it saw."""
        self.exchange(())
        if self._link is not None:
            try:
                self._link.run(Errand(scripts.LEAVE, (scripts.TOLD_KEY,), (self._replica,)))
            except HistoryFault as error:
                self._fail(error.fault, self._clock())
            else:
                self._link.close()
        self._link, self._next_try = None, math.inf

    def _fail(self, fault: Fault, now: float) -> None:
        if self._link is not None:
            self._link.close()
        self._link, self._next_try = None, now + _PAUSE_SECONDS
        if not self.degraded:
            self.degraded = True
            _log.warning("sightings_degraded", extra={"fields": {"fault": fault.value, "expected": EXPECTED[fault]}})

    def _to_tell(self, now: float) -> list[tuple[Errand, deque[Any], int]]:
        """Make errands of what waits, with the queue and how much of it each is; what is told twice changes nothing."""
        found: list[tuple[Errand, deque[Any], int]] = []
        for batch in _batches(list(self._sightings)):
            keys = tuple([_to_key(request_id) for request_id, _ in batch])
            members = tuple([_ENCODER.encode(sighting) for _, sighting in batch])
            found.append((Errand(scripts.TELL, keys, members), self._sightings, len(batch)))
        for names in _batches(list(self._expected)):
            found.append((Errand(scripts.EXPECT, tuple(names), (self._replica,)), self._expected, len(names)))
        for ended in _batches([record for due, record in list(self._ended) if due <= now]):
            keys = tuple([scripts.expected_key(_name(record)) for record in ended])
            found.append((Errand(scripts.END, keys, tuple([_ENCODER.encode(one) for one in ended])), self._ended, len(ended)))
        for one in list(self._quarantined):
            args = (f"{one.seconds * 1e6:.0f}", one.session, _to_bytes(one.finding))
            found.append((Errand(scripts.QUARANTINE, (scripts.QUARANTINE_KEY,), args), self._quarantined, 1))
        return found

    def _to_news(self, now: float) -> Errand:
        keys = (scripts.TOLD_KEY, scripts.QUARANTINE_KEY, scripts.inbox_key(self._replica))
        return Errand(scripts.NEWS, keys, (self._replica, "1" if now >= self._incomplete_until else "0", self._cursor))

    def _to_read(self, news: list[Any], seen: list[list[bytes]], *, settled: bool) -> News:
        age, ended, cursor, *entries = news
        self._cursor = cursor.decode()
        try:
            quarantined = [
                Quarantined(entries[at].decode(), entries[at + 1] / 1e6, _FINDING.decode(entries[at + 2]))
                for at in range(0, len(entries), 3)
            ]
            sightings = [frozenset([_SIGHTING.decode(member) for member in members]) for members in seen]
            outcomes = [_OUTCOME.decode(one) for one in ended]
            return News(sightings, outcomes, quarantined, age / 1e6 if settled else math.inf)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _log.warning("sightings_unreadable")
            return News((frozenset(),) * len(seen), (), (), math.inf)


def _batches(things: list[Any]) -> list[list[Any]]:
    return [things[first : first + _BATCH] for first in range(0, len(things), _BATCH)]


def _to_question(request_id: str) -> Errand:
    return Errand(scripts.ASK, (_to_key(request_id),), ())


def _to_key(request_id: str) -> str:
    return scripts.sightings_key(_digest(request_id))


def _name(record: OutcomeRecord) -> str:
    return record.id or _digest(join_key(record.request_id, record.workload, record.method))


def _to_bytes(finding: Finding) -> bytes:
    packed = _ENCODER.encode(finding)
    if len(packed) <= _MAX_FINDING_BYTES:
        return packed
    return _ENCODER.encode(Finding(finding.code, finding.text[:500], "", "", finding.evidence, finding.chance))


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()
