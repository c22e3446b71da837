"""What was done to an object, as a Kubernetes Event on it (core/v1), which `kubectl describe` shows.

In: a result. Out: the Event. It holds what the audit log says in short, and no more than Kubernetes keeps of it (1024 bytes).
"""

import time
from typing import Any, Final

from trainer.policies.policy import API_VERSION, KIND

__all__ = ["to_event"]

_MAX_NOTE: Final = 1024
_MAX_NAME: Final = 253


def to_event(namespace: str, name: str, uid: str | None, reason: str, note: str, ts: float, *, warning: bool) -> dict[str, Any]:
    """Make an Event; `reason` in camel case, `ts` in seconds, `uid` None where the object is gone or never was."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ts))
    suffix = f".{int(ts * 1e9):x}"
    involved = {"apiVersion": API_VERSION, "kind": KIND, "namespace": namespace, "name": name}
    if uid:
        involved["uid"] = uid
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name[: _MAX_NAME - len(suffix)].rstrip(".-") + suffix, "namespace": namespace},
        "involvedObject": involved,
        "reason": reason,
        "message": note.encode()[:_MAX_NOTE].decode("utf-8", "ignore"),
        "type": "Warning" if warning else "Normal",
        "source": {"component": "meshwarden"},
        "reportingComponent": "meshwarden",
        "reportingInstance": "",
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
