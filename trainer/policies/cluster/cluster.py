"""One Kubernetes API server, reached as one user: read, apply, delete, each bounded in time and in tries.

In: a kubeconfig and context, or the pod's own service account. Out: objects as plain dicts, or a Refusal. The rules that live
here: everything is applied under our field manager and never by force; what is busy (429, 503) is tried again a few times, what
is refused never; a request whose connection broke is repeated only where doing it twice is doing it once.

Nothing is discovered: the few kinds that are touched are named here, so no right to discover is needed, and DynamicClient's cache
file, by default a shared one with a predictable name, is never made.
"""

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from kubernetes import dynamic as kubernetes_dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic import resource as kubernetes_resource
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from authz_server.engine.errors import SettingError, cut
from trainer.known_names import known_names
from trainer.policies.cluster.ownership import MANAGER
from trainer.policies.cluster.refusal import Reason, Refusal, retry_after, to_refusal
from trainer.policies.policy import API_VERSION, KIND

__all__ = ["CONFIG_MAPS", "POLICIES", "Cluster", "Identity", "Kind", "connect", "describe"]

# The package has no types; as Any it is called from typed code.
_config: Any = kubernetes_config
_client: Any = kubernetes_client
_dynamic: Any = kubernetes_dynamic
_resource: Any = kubernetes_resource

_TIMEOUT: Final = 15.0
"""Seconds for one request, connecting and reading each; the API server's own webhooks get at most 10 by default, 30 at most."""
_TRIES: Final = 4
_WAIT: Final = 0.25
_MOST_WAIT: Final = 5.0
_PAGE: Final = 250
_MOST_PAGES: Final = 200
_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_UNREADABLE: Final = (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError)
"""What the package raises on a kubeconfig that isn't one."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of object, as its URL is spelled."""

    prefix: str
    group: str
    version: str
    kind: str
    plural: str


POLICIES: Final = Kind("apis", API_VERSION.split("/")[0], API_VERSION.split("/")[1], KIND, "authorizationpolicies")
CONFIG_MAPS: Final = Kind("api", "", "v1", "ConfigMap", "configmaps")
_EVENTS: Final = Kind("api", "", "v1", "Event", "events")


class Identity(msgspec.Struct, frozen=True):
    """Who asks, and whom."""

    user: str
    host: str
    context: str


class _NoDiscovery:
    """Stands in for DynamicClient's discovery, which asks for everything there is, without a bound in time."""

    def __init__(self, client: Any, cache_file: object) -> None:
        del client, cache_file


class Cluster:
    """Requests to one API server. `wait` sleeps, given seconds."""

    def __init__(
        self, client: Any, identity: Identity, timeout: float = _TIMEOUT, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._dynamic: Any = _dynamic.DynamicClient(client, discoverer=_NoDiscovery)
        # As a pair: before version 34 the package takes no notice of a single number that isn't whole.
        self._options = {"_request_timeout": (timeout, timeout), "serialize": False}
        self._wait = wait
        self.identity = identity

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one object; None where there is none."""
        resource = self._resource(kind)
        what = f"get {kind.plural} {namespace}/{name}"
        try:
            return self._send(
                what,
                lambda: self._dynamic.get(resource, name=name, namespace=namespace, **self._options),
                repeat=True,
            )
        except Refusal as refusal:
            if refusal.reason is Reason.NOT_FOUND:
                return None
            raise

    def listed(self, kind: Kind, namespace: str | None = None, labels: str | None = None) -> list[dict[str, Any]]:
        """Read the objects of a namespace, or of all, that have such labels ("key=value"); in order of namespace and name."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        what = f"list {kind.plural} {f'in {namespace}' if namespace else 'in all namespaces'}"
        for _ in range(_MOST_PAGES):
            answer = self._send(what, self._page(kind, namespace, labels, after), repeat=True)
            found += [{"apiVersion": answer["apiVersion"], "kind": kind.kind} | item for item in answer.get("items") or ()]
            after = answer.get("metadata", {}).get("continue")
            if not after:
                return sorted(found, key=lambda item: (item["metadata"].get("namespace", ""), item["metadata"]["name"]))
        raise Refusal(Reason.FAILED, f"{what}: expected at most {_MOST_PAGES * _PAGE} objects, found more: name a namespace")

    def apply(self, kind: Kind, wanted: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply an object under our field manager, or ask what that would give; returns the object as it is then.

        Raises Refusal: with reason CONFLICT where others own fields that it sets.
        """
        resource = self._resource(kind)
        options: dict[str, Any] = {"dry_run": "All"} if dry_run else {}
        return self._send(
            f"patch {kind.plural} {describe(wanted)}",
            lambda: self._dynamic.server_side_apply(
                resource,
                body=dict(wanted),
                namespace=wanted["metadata"]["namespace"],
                field_manager=MANAGER,
                **self._options,
                **options,
            ),
            repeat=True,
        )

    def delete(self, kind: Kind, found: Mapping[str, Any], *, dry_run: bool = False) -> None:
        """Delete an object if it is still as `found`; one that is gone already is as good."""
        resource = self._resource(kind)
        metadata = found["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        }
        options: dict[str, Any] = {"dry_run": "All"} if dry_run else {}
        try:
            self._send(
                f"delete {kind.plural} {describe(found)}",
                lambda: self._dynamic.delete(
                    resource,
                    name=metadata["name"],
                    namespace=metadata["namespace"],
                    body=body,
                    **self._options,
                    **options,
                ),
                repeat=True,
            )
        except Refusal as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise

    def write(self, kind: Kind, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object if its `resourceVersion` is still the one given; create it where none is given.

        Raises Refusal: with reason STALE or EXISTS where someone else was faster.
        """
        resource = self._resource(kind)
        metadata = wanted["metadata"]
        options: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "field_manager": MANAGER,
            **self._options,
        }
        if metadata.get("resourceVersion"):
            what = f"update {kind.plural} {describe(wanted)}"
            return self._send(
                what, lambda: self._dynamic.replace(resource, body=dict(wanted), name=metadata["name"], **options), repeat=False
            )
        what = f"create {kind.plural} {describe(wanted)}"
        return self._send(what, lambda: self._dynamic.create(resource, body=dict(wanted), **options), repeat=False)

    def announce(self, event: Mapping[str, Any]) -> None:
        """Create a Kubernetes Event; raises Refusal."""
        resource = self._resource(_EVENTS)
        namespace = event["metadata"]["namespace"]
        self._send(
            f"create events in {namespace}",
            lambda: self._dynamic.create(resource, body=dict(event), namespace=namespace, field_manager=MANAGER, **self._options),
            repeat=False,
        )

    def _resource(self, kind: Kind) -> Any:
        return _resource.Resource(
            prefix=kind.prefix,
            group=kind.group,
            api_version=kind.version,
            kind=kind.kind,
            name=kind.plural,
            namespaced=True,
            client=self._dynamic,
        )

    def _page(self, kind: Kind, namespace: str | None, labels: str | None, after: str | None) -> Callable[[], Any]:
        resource = self._resource(kind)
        options: dict[str, Any] = {"limit": _PAGE, **self._options}
        if labels is not None:
            options["label_selector"] = labels
        if after is not None:
            options["_continue"] = after
        return lambda: self._dynamic.get(resource, namespace=namespace, **options)

    def _send(self, what: str, request: Callable[[], Any], *, repeat: bool) -> dict[str, Any]:
        """Make one request; `repeat`: doing it twice is doing it once."""
        wait = _WAIT
        for left in reversed(range(_TRIES)):
            try:
                return self._read(what, request().data)
            except (ApiException, HTTPError, OSError) as error:
                refusal = to_refusal(error, what, self.identity.host)
                again = refusal.reason is Reason.BUSY or (repeat and refusal.reason in (Reason.BROKEN, Reason.UNREACHABLE))
                if not left or not again:
                    raise refusal from error
                asked = retry_after(error) if isinstance(error, ApiException) else None
                self._wait(min(_MOST_WAIT, wait if asked is None else asked))
                wait *= 2
        raise AssertionError("unreachable")

    def _read(self, what: str, data: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            text = f"{what}: expected JSON from {self.identity.host}, got something else: is it an API server?"
            raise Refusal(Reason.FAILED, text) from error


def connect(
    context: str | None, kubeconfig: Path | None, timeout: float = _TIMEOUT, wait: Callable[[float], None] = time.sleep
) -> Cluster:
    """Read how to reach an API server: a kubeconfig's context or its current one; without a kubeconfig, as the pod's account.

    Raises SettingError.
    """
    settings = _client.Configuration()
    path = None if kubeconfig is None else str(kubeconfig)
    try:
        contexts, current = _config.list_kube_config_contexts(path)
    except _UNREADABLE as error:
        if context is not None or kubeconfig is not None:
            said = cut(" ".join(str(error).split()))
            raise SettingError(f"kubeconfig: expected one that can be read, got {path or 'the usual one'}: {said}") from error
        return _connect_in_cluster(settings, timeout, wait)
    names = {entry["name"]: entry for entry in contexts}
    chosen = current["name"] if context is None else context
    if chosen not in names:
        raise SettingError(f"context: expected one of {known_names(chosen, names)}, got {cut(chosen)!r}")
    try:
        _config.load_kube_config(config_file=path, context=chosen, client_configuration=settings, persist_config=False)
    except _UNREADABLE as error:
        raise SettingError(f"context {cut(chosen)}: expected how to log in, got {cut(error)}") from error
    return _cluster(settings, str(names[chosen]["context"].get("user", "?")), chosen, timeout, wait)


def _connect_in_cluster(settings: Any, timeout: float, wait: Callable[[float], None]) -> Cluster:
    try:
        _config.load_incluster_config(client_configuration=settings)
        token = _TOKEN.read_text("ascii")
    except _UNREADABLE as error:
        raise SettingError(
            f"context: expected a kubeconfig, or to run in a pod with a service account, got {cut(error)}"
        ) from error
    return _cluster(settings, _subject(token), "in-cluster", timeout, wait)


def _cluster(settings: Any, user: str, context: str, timeout: float, wait: Callable[[float], None]) -> Cluster:
    settings.retries = Retry(total=0, redirect=0, raise_on_status=False)
    return Cluster(_client.ApiClient(settings), Identity(user, settings.host, context), timeout, wait)


def _subject(token: str) -> str:
    """Read whose token it is, for the audit log alone: its signature is the API server's business."""
    try:
        payload = token.split(".")[1]
        subject = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return "service account"
    return cut(subject)


def describe(thing: Mapping[str, Any]) -> str:
    """Name an object: "namespace/name"."""
    return f"{thing['metadata'].get('namespace', '')}/{thing['metadata']['name']}"
