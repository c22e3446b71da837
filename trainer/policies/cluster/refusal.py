"""What the API server's refusals mean, each as one line that says what to do.

In: the exception that the Kubernetes client raised, and what was asked. Out: a Refusal with its reason. The messages taken
apart here are Kubernetes' own (apiserver `errors.go`, `managedfields`, authorization); where one isn't known, it is shown, cut
and on one line.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from authz_server.engine.errors import ClusterError

__all__ = ["Reason", "Refusal", "retry_after", "to_refusal"]

_SHOWN: Final = 400
_CONFLICT: Final = re.compile(r'conflicts? with "([^"]*)"')
_FORBIDDEN: Final = re.compile(r'cannot (\S+) resource "([^"]*)" in API group "([^"]*)"')
_FIELD: Final = re.compile(r"(\.[\w.\[\]-]+): field not declared in schema")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


class Reason(StrEnum):
    """Why the API server didn't do what was asked; the words stand in the audit log."""

    CONFLICT = "conflict"
    STALE = "stale"
    EXISTS = "exists"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    NO_NAMESPACE = "no_namespace"
    NO_KIND = "no_kind"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    UNKNOWN_FIELD = "unknown_field"
    BUSY = "busy"
    BROKEN = "broken"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNTRUSTED = "untrusted"
    FAILED = "failed"

    @property
    def uncertain(self) -> bool:
        """Whether it may have been done all the same."""
        return self in (Reason.BROKEN, Reason.TIMEOUT)

    @property
    def general(self) -> bool:
        """Whether the next request will hardly fare better, whatever it is about."""
        return self in _GENERAL


_GENERAL: Final = frozenset(
    {Reason.BROKEN, Reason.UNREACHABLE, Reason.TIMEOUT, Reason.UNTRUSTED, Reason.UNAUTHORIZED, Reason.BUSY, Reason.NO_KIND}
)


class Refusal(ClusterError):  # noqa: N818  # the word for it: nothing broke, the API server said no
    """One request that wasn't done; `owners` maps fields in conflict to who owns them."""

    def __init__(self, reason: Reason, text: str, owners: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.owners = dict(owners or {})


def to_refusal(error: Exception, what: str, host: str) -> Refusal:
    """Say what went wrong with `what`, such as "patch authorizationpolicies shop/cart", at `host`."""
    if isinstance(error, ApiException):
        return _from_answer(error, what)
    cause: BaseException = error
    if isinstance(error, MaxRetryError) and error.reason is not None:
        cause = error.reason
    if isinstance(cause, SSLError):
        return Refusal(
            Reason.UNTRUSTED, f"{what}: no trust in the certificate of {host} ({_line(cause)}): check the kubeconfig's CA"
        )
    said = f"{type(cause).__name__} {cause}"
    if "refused" in said or "resol" in said or "unreachable" in said.lower():
        return Refusal(
            Reason.UNREACHABLE, f"{what}: no connection to {host} ({_line(cause)}): is it the right context, is it up?"
        )
    if isinstance(cause, Urllib3Timeout | TimeoutError):
        return Refusal(Reason.TIMEOUT, f"{what}: {host} didn't answer in time, so it may have been done or not: push again")
    if isinstance(cause, HTTPError | OSError):
        return Refusal(Reason.BROKEN, f"{what}: the connection to {host} broke off, so it may have been done or not: push again")
    return Refusal(Reason.FAILED, f"{what}: {_line(error)}")


def retry_after(error: ApiException) -> float | None:
    """Read how many seconds the API server asks to wait; None where it doesn't say."""
    value = (error.headers or {}).get("Retry-After", "")
    return float(value) if str(value).isdecimal() else None


def _from_answer(error: ApiException, what: str) -> Refusal:
    status = _status(error)
    message = _line(status.get("message") or error.body or error.reason)
    raw_details = status.get("details")
    details: Mapping[str, Any] = raw_details if isinstance(raw_details, Mapping) else {}
    match error.status:
        case 400 | 422 | 413:
            return Refusal(Reason.INVALID, f"{what}: the API server finds it invalid: {message}")
        case 401:
            return Refusal(Reason.UNAUTHORIZED, f"{what}: the credentials aren't accepted (expired?): log in again")
        case 403:
            return _forbidden(what, message)
        case 404:
            return _not_found(what, details, status, message)
        case 409:
            return _conflict(what, status, details, message)
        case 429 | 503 | 504:
            return Refusal(
                Reason.BUSY, f"{what}: the API server is busy ({error.status}) and stayed so: push again later: {message}"
            )
        case 500:
            return _failed(what, message)
        case _:
            return Refusal(Reason.FAILED, f"{what}: the API server answered {error.status}: {message}")


def _forbidden(what: str, message: str) -> Refusal:
    found = _FORBIDDEN.search(message)
    if found is None:
        return Refusal(Reason.FORBIDDEN, f"{what}: forbidden: {message}")
    verb, resource, group = found.groups()
    also = " (a new object needs create and patch)" if verb in ("create", "patch") else ""
    name = f"{resource}.{group}" if group else resource
    return Refusal(Reason.FORBIDDEN, f"{what}: the right is missing: grant verb {verb} on {name}{also}: {message}")


def _not_found(what: str, details: Mapping[str, Any], status: Mapping[str, Any], message: str) -> Refusal:
    if details.get("kind") == "namespaces":
        name = _line(details.get("name", "?"))
        return Refusal(Reason.NO_NAMESPACE, f"{what}: there is no namespace {name}: create it, or check the context")
    if not status or not details.get("name"):
        return Refusal(Reason.NO_KIND, f"{what}: the cluster doesn't know this kind: install Istio's CRDs, or check the context")
    return Refusal(Reason.NOT_FOUND, f"{what}: not found: {message}")


def _conflict(what: str, status: Mapping[str, Any], details: Mapping[str, Any], message: str) -> Refusal:
    causes = [cause for cause in details.get("causes") or () if isinstance(cause, Mapping) and cause.get("field")]
    taken = {_line(cause["field"]): _manager(cause) for cause in causes}
    if taken:
        said = ", ".join(f"{owner} owns {field}" for field, owner in sorted(taken.items()))
        return Refusal(
            Reason.CONFLICT, f"{what}: {said}; nothing was changed: take it out of the file, or let its owner give it up", taken
        )
    if status.get("reason") == "AlreadyExists":
        return Refusal(Reason.EXISTS, f"{what}: someone else made it meanwhile: try again")
    return Refusal(Reason.STALE, f"{what}: someone changed it meanwhile; nothing was overwritten: try again: {message}")


def _manager(cause: Mapping[str, Any]) -> str:
    found = _CONFLICT.search(str(cause.get("message", "")))
    return _line(found.group(1)) if found else "someone else"


def _failed(what: str, message: str) -> Refusal:
    field = _FIELD.search(message)
    if field is not None:
        return Refusal(
            Reason.UNKNOWN_FIELD,
            f"{what}: the cluster's CRD doesn't know {field.group(1)}: it is older than the policy: upgrade Istio's CRDs",
        )
    if "webhook" in message:
        return Refusal(Reason.FAILED, f"{what}: a webhook that must be asked doesn't answer (is istiod up?): {message}")
    return Refusal(Reason.FAILED, f"{what}: the API server failed (500): {message}")


def _status(error: ApiException) -> Mapping[str, Any]:
    """Read the answer's Status object; empty where it is none."""
    try:
        status = json.loads(error.body or "")
    except (ValueError, TypeError):
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _line(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
