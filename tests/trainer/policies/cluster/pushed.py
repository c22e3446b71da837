"""Policies to push, and somebody who pushes them, with what is told and logged."""

from pathlib import Path
from typing import Any

import msgspec

from tests.trainer.policies.cluster.api_server import ApiServer
from trainer.policies.cluster.audit import AuditLog
from trainer.policies.cluster.cluster import connect
from trainer.policies.cluster.delivery import Delivery, push, roll_back
from trainer.policies.cluster.push import Outcome

__all__ = ["Pusher", "policy"]


def policy(name: str = "cart", app: str = "cart", **changes: Any) -> dict[str, Any]:
    """One caller may GET one path; `paths`, `dry_run`, `namespace`, `action`, `labels` and `annotations` can be other ones."""
    operation = {"methods": ["GET"], "paths": changes.get("paths", ["/a"])}
    annotations = {"istio.io/dry-run": "true"} if changes.get("dry_run", True) else {}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {
            "name": name,
            "namespace": changes.get("namespace", "shop"),
            "labels": changes.get("labels", {"app.kubernetes.io/managed-by": "meshwarden"}),
            "annotations": annotations | changes.get("annotations", {}),
        },
        "spec": {
            "action": changes.get("action", "ALLOW"),
            "selector": {"matchLabels": {"app": app}},
            "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/web"]}}], "to": [{"operation": operation}]}],
        },
    }


class Pusher:
    """Pushes and rolls back, without waiting between tries."""

    def __init__(self, api: ApiServer, directory: Path) -> None:
        self.waited: list[float] = []
        self.told: list[str] = []
        self.stopping = False
        self.cluster = connect("test", api.kubeconfig(directory), timeout=0.6, wait=self.waited.append)
        self._log = directory / "audit.jsonl"

    def push(self, *wanted: dict[str, Any], prune: bool = False, namespaces: tuple[str, ...] = ()) -> dict[str, Outcome]:
        """Push; returns outcomes by "namespace/name"."""
        with AuditLog(self._log) as log:
            delivery = Delivery(log, self.told.append, lambda: self.stopping)
            results = push(self.cluster, wanted, namespaces, delivery, prune=prune)
        return {f"{one.namespace}/{one.name}": one.outcome for one in results}

    def roll_back(self, *namespaces: str, number: int | None = None) -> dict[str, Outcome]:
        """Roll back; returns outcomes by "namespace/name"."""
        with AuditLog(self._log) as log:
            results = roll_back(self.cluster, namespaces, Delivery(log, self.told.append, action="rollback"), number)
        return {f"{one.namespace}/{one.name}": one.outcome for one in results}

    def entries(self) -> list[dict[str, Any]]:
        """The audit log."""
        return [msgspec.json.decode(line) for line in self._log.read_bytes().splitlines()] if self._log.exists() else []

    def said(self, name: str) -> str:
        """What was told of an object last."""
        return [line for line in self.told if line.startswith(f"{name}: ")][-1]
