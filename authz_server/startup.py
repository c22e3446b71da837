"""What must be right before the server starts: policy, bundle and places, or every problem of them; what would run, in words."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from authz_server.bundle import Bundle, BundleDirectory
from authz_server.enforcement import EnforcementFile
from authz_server.engine.errors import MeshwardenError, cut
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Enforcement
from authz_server.key_id import show_key_id
from authz_server.settings import Settings, to_public
from authz_server.uploads import is_url, open_filesystem

__all__ = ["Parts", "describe", "load_parts", "notes", "unusable"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What is loaded at start: the observer under the hash key, the policy and the bundle, both as they are followed."""

    observer: Observer
    policy: EnforcementFile
    bundle: BundleDirectory


def load_parts(settings: Settings) -> Parts:
    """Load policy and bundle; raises MeshwardenError with every problem of both."""
    problems: list[str] = []
    observer = Observer(settings.hash_key)
    policy: EnforcementFile | None = None
    bundle: BundleDirectory | None = None
    try:
        policy = EnforcementFile(settings.policy, settings.mode)
    except MeshwardenError as error:
        problems += error.problems
    try:
        bundle = BundleDirectory(settings.bundle, observer.key_id, settings.workloads)
    except MeshwardenError as error:
        problems += error.problems
    if policy is None or bundle is None:
        raise MeshwardenError(*problems)
    return Parts(observer, policy, bundle)


def unusable(settings: Settings) -> Iterator[str]:
    """Name what `serve` couldn't use, leaving nothing behind: where it records and logs, a shared history, its certificate."""
    for needed in (_open_record, _know_history):
        try:
            needed(settings)
        except MeshwardenError as error:
            yield from error.problems
    record = settings.record_spool if settings.record and is_url(settings.record) else settings.record
    if record is not None:
        reason = _unwritable(Path(record))
        if reason:
            yield f"{'record' if record == settings.record else 'record_spool'}: {cut(record)}: {reason}"
    log = settings.decision_log
    if log not in (None, "-"):
        path = Path(log or "")
        reason = _denied(path) if path.is_file() else _unwritable(path.parent)
        if reason:
            yield f"decision_log: expected a file that can be written, got {cut(log)!r}: {reason}"
    if settings.tls_cert is not None:
        from authz_server.credentials import server_credentials  # brings grpc

        try:
            server_credentials(settings)
        except MeshwardenError as error:
            yield from error.problems


def _open_record(settings: Settings) -> None:
    if settings.record and is_url(settings.record):
        open_filesystem(settings.record)  # asks nobody yet


def _know_history(settings: Settings) -> None:
    if settings.history != "memory":
        from authz_server.histories.redis_connector import connector  # brings redis

        connector(settings.history, settings.history_timeout_ms / 1000)


def _unwritable(directory: Path) -> str:
    """Tell why a directory can't be written, or made where it isn't there yet; or nothing."""
    above = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    return _denied(above) if above.is_dir() else f"{cut(above)} is a file"


def _denied(path: Path) -> str:
    return "" if os.access(path, os.W_OK) else os.strerror(errno.EACCES)


def notes(settings: Settings, enforcement: Enforcement, bundle: Bundle) -> Iterator[str]:
    """Say what isn't wrong but probably not meant: one sentence each."""
    if not settings.hash_key:
        yield "no hash key is set: whoever holds the recorded calls or the bundle can guess values from their digests"
    if not settings.tls_cert and not settings.listen.startswith(("unix:", "127.", "[::1]", "localhost")):
        yield f"{settings.listen} is reachable from outside without TLS: whoever reaches it is believed to be Envoy"
    if not bundle.models:
        yield "nothing is learned yet: every call is allowed"
    for name in settings.workloads:
        if name not in bundle.models and bundle.revision:
            yield f"the bundle has no model of {name}: its calls are allowed"
    for name, policy in enforcement.workloads.items():
        ready = bundle.models.get(name)
        if ready is None:
            continue
        for endpoint in policy.endpoints:
            if endpoint not in ready.model.endpoints:
                yield f"the policy names {cut(endpoint)} of {name}, which the bundle doesn't know: the rule applies to no call"


def describe(settings: Settings, parts: Parts) -> str:
    """Tell what would run: addresses, policy, bundle, and the mode and counts of each workload."""
    enforcement, bundle = parts.policy.current, parts.bundle.current
    tls = "mutual TLS" if settings.tls_client_ca else "TLS" if settings.tls_cert else "plaintext"
    rule, shown = enforcement.defaults, to_public(settings)
    lines = [
        f"listen    {settings.listen} ({tls})",
        f"admin     {settings.admin or 'none'}",
        f"record    {shown['record'] or 'no'}",
        f"history   {shown['history']}",
        f"policy    {settings.policy or 'built-in'}: {rule.mode.value}, budget {rule.budget:g}",
        f"bundle    {_described(bundle)}",
        f"hash key  {show_key_id(parts.observer.key_id).removeprefix('key ')}",
    ]
    names = sorted({*bundle.models, *enforcement.workloads})
    if names:
        width = max(8, *[len(name) for name in names])
        lines += ["", f"{'workload':{width}}  {'mode':8}  {'budget':>8}  {'calls':>12}  {'endpoints':>9}"]
        lines += [_row(name, width, enforcement, bundle) for name in names]
    said = list(notes(settings, enforcement, bundle))
    return "\n".join([*lines, *([""] if said else []), *[f"note: {note}" for note in said]]) + "\n"


def _described(bundle: Bundle) -> str:
    if bundle.manifest is None:
        return "none yet"
    made = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(bundle.manifest.created))
    count = len(bundle.manifest.workloads)
    workloads = f"{count:,} workload{'s' if count != 1 else ''}"
    return f"revision {bundle.revision} of {made}: {bundle.manifest.calls:,} calls, {workloads}"


def _row(name: str, width: int, enforcement: Enforcement, bundle: Bundle) -> str:
    rule, ready = enforcement.workload(name), bundle.models.get(name)
    counts = f"{ready.model.n:>12,}  {len(ready.model.endpoints):>9,}" if ready else f"{'no model':>12}  {'':>9}"
    exceptions = len(enforcement.workloads[name].endpoints) if name in enforcement.workloads else 0
    more = f"  {exceptions} endpoint{'s' if exceptions != 1 else ''} set apart" if exceptions else ""
    return f"{name:{width}}  {rule.mode.value:8}  {rule.budget:>8g}  {counts}{more}".rstrip()
