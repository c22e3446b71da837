"""Where results go: each into the audit log and, as far as possible, as an Event onto its object.

In: results, as they become known. Out: lines in the log, Events, and words for the person who waits. An Event that can't be
written is said once and stops nothing; a log that can't be written stops everything.
"""

import time
from collections.abc import Callable, Sequence

from authz_server.engine.errors import MeshwardenError
from trainer.policies.cluster.audit import AuditLog, Entry
from trainer.policies.cluster.cluster import Cluster
from trainer.policies.cluster.event import to_event
from trainer.policies.cluster.push import Intent, Outcome, Result
from trainer.policies.cluster.refusal import Reason, Refusal

__all__ = ["Journal"]


class Journal:
    """The records of one action on one cluster."""

    def __init__(self, cluster: Cluster, log: AuditLog, intent: Intent, tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._log = log
        self._intent = intent
        self._tell = tell
        self._silent = False

    def note(self, result: Result) -> None:
        """Record what became of one object; raises StoreError. What is as wanted is told, and logged in sum (`end`)."""
        if result.outcome is not Outcome.EQUAL:
            self._log.add(self._entry(f"{result.namespace}/{result.name}", result))
        self._tell(f"{result.namespace}/{result.name}: {result.outcome}{f': {result.text}' if result.text else ''}")
        if result.outcome not in (Outcome.EQUAL, Outcome.NOT_REACHED):
            self._announce(result)

    def end(self, results: Sequence[Result]) -> None:
        """Record that an action found nothing to do, where it did; raises StoreError."""
        if all(one.outcome is Outcome.EQUAL for one in results):
            self._log.add(self._entry("", Result("", "", "", Outcome.EQUAL, f"{len(results)} policies are as wanted")))

    def fail(self, error: MeshwardenError) -> None:
        """Record that an action ended before any object was touched, or between two; raises StoreError."""
        self._log.add(self._entry("", Result("", "", "", Outcome.REFUSED, str(error)), outcome="failed"))

    def _entry(self, thing: str, result: Result, outcome: str | None = None) -> Entry:
        identity = self._cluster.identity
        return Entry(
            ts=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            who=identity.user,
            host=identity.host,
            context=identity.context,
            action=self._intent.action,
            object=thing,
            workload=result.workload,
            outcome=outcome or result.outcome.value,
            before=result.before,
            after=result.after,
            reason=result.text,
            push=self._intent.push,
        )

    def _announce(self, result: Result) -> None:
        if self._silent:
            return
        word = "".join(part.capitalize() for part in f"policy {self._intent.action} {result.outcome}".split())
        note = f"{self._intent.action} by {self._intent.who}: {result.outcome}{f': {result.text}' if result.text else ''}"
        event = to_event(result.namespace, result.name, result.uid, word, note, time.time(), warning=not result.outcome.good)
        try:
            self._cluster.announce(event)
        except Refusal as refusal:
            if refusal.reason is Reason.NO_NAMESPACE:
                return
            self._silent = True
            self._tell(f"no Event on {result.namespace}/{result.name}, which changes nothing else: {refusal.text}")
