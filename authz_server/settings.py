"""Settings: what the operator says once, at start. In: environment (`AUTHZ_<NAME>`) and flags (`--name`). Out: frozen Settings.

Flags win over the environment. Flags, variables, the README's table and /config are all derived from the fields below, so a
setting is written once. Whatever is wrong is found at once and stops the start; a misspelt variable is a problem too, not a
silent default.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from authz_server import setting_readers as readers
from authz_server.engine.errors import cut
from authz_server.engine.policy import Mode
from authz_server.setting_readers import FILE, PLACE, Reader

__all__ = [
    "PREFIX",
    "READERS",
    "Settings",
    "nearest",
    "read_settings",
    "setting_names",
    "to_flag",
    "to_public",
    "unknown_variables",
]

PREFIX: Final = "AUTHZ_"
"""What the variables begin with."""
MAX_WATCH_SECONDS: Final = 3600.0
MAX_THREADS: Final = 256

_CREDENTIALS = re.compile(r"(://)\S*@|((?:password|username)=)[^&\s]*")
"""What URLs must not be shown with, wherever somebody put it."""
_SERVICE_LINK = re.compile(
    r"_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)\Z"
)
"""What Kubernetes sets in every pod for a Service whose name begins with `authz`; its `AUTHZ_PORT` holds a `tcp://` URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the server is told at start; what is enforced stands in the policy file instead, and is reloaded."""

    listen: Annotated[str, Reader("HOST:PORT, [IPv6]:PORT or unix:PATH (at most 107 bytes)", readers.listen)] = "127.0.0.1:9191"
    """Where Envoy asks: gRPC, on TCP or a Unix socket. Loopback by default: without TLS whoever reaches it is believed."""

    admin: Annotated[str | None, Reader("HOST:PORT, [IPv6]:PORT or nothing", readers.optional(readers.address))] = (
        "127.0.0.1:9192"
    )
    """Where `/metrics`, `/healthz`, `/readyz`, `/decisions` and `/config` are served; empty: nowhere. It has no
    authentication: make it reachable only for those who may see masked decisions."""

    bundle: Annotated[str | None, PLACE] = None
    """Where the trainer publishes what was learned: a directory or fsspec URL, watched. Empty: no model, so everything is
    allowed and recorded, which is how learning starts."""

    policy: Annotated[Path | None, FILE] = Path("policies/enforcement.yaml")
    """The enforcement policy (modes, budgets, exceptions), watched. Where the default doesn't exist, or when empty, the
    built-in defaults hold: dry run, budget 0.001, allow on failure."""

    mode: Annotated[Mode | None, Reader("off, dry_run, enforce or nothing", readers.optional(Mode))] = None
    """Overrides the policy's default mode; what the policy says for a workload or an endpoint still wins. Empty: as the
    policy says."""

    record: Annotated[str | None, PLACE] = None
    """Where calls are recorded for the trainer, masked: a directory or fsspec URL. Empty: nothing is recorded."""

    record_max_bytes: Annotated[int, Reader("a size from 1MiB up, like 500MiB or 2GiB", readers.size(2**20, 2**50))] = 2**30
    """Most bytes of recorded calls on the local disk; the oldest segments go first."""

    record_seconds: Annotated[float, Reader("seconds from 1 to 86400", readers.number(1, 86400))] = 300.0
    """How long a segment stays open. Where `record` is a URL, that much is lost when pod and disk vanish at once."""

    record_spool: Annotated[Path | None, Reader("a directory or nothing", readers.optional(Path))] = None
    """Where segments wait for their upload when `record` is a URL. Empty: under /tmp, which must then be writable."""

    decision_log: Annotated[
        str | None, Reader("a file, - for standard output, or nothing", readers.optional(readers.log_target))
    ] = "-"
    """Where each decision is written as one JSON line; `-`: standard output. Empty: nowhere. Reopened when it is rotated."""

    decision_log_sample: Annotated[float, Reader("a number from 0 to 1", readers.number(0, 1))] = 0.01
    """Share of the allows that get a line (denies, would-be denies and failures always do). Each line states its share."""

    hash_key: Annotated[str, Reader("a text without white space around it", readers.key, secret=True)] = ""
    """Secret under which values are hashed before they are kept; the same as the trainer's, or the bundle is refused. Set it
    by environment: command lines are visible to everyone on the machine. Empty: digests can be guessed by who holds the store."""

    workloads: Annotated[tuple[str, ...], Reader("names like shop/cart,shop/pay", readers.names)] = ()
    """The workloads whose models are loaded from the bundle, separated by commas: a sidecar needs only its own. Empty: all."""

    history: Annotated[str, Reader("memory, or a URL like redis://USER:PASSWORD@HOST:6379/0", readers.history)] = "memory"
    """Where callers' histories are kept: in this process's memory, or in a Redis (6.0 or newer, no cluster) or Valkey that all
    replicas share: redis://, valkey://, with TLS rediss://, valkeys:// (`?ssl_ca_certs=FILE`), or unix:///PATH. Needs the extra
    `redis`. With a password, set it by environment. As maxmemory-policy take volatile-lfu: it keeps those who come back."""

    history_timeout_ms: Annotated[float, Reader("milliseconds from 1 to 1000", readers.number(1, 1000))] = 50.0
    """How long a call waits for its caller's history when `history` is a URL; then it is answered without. While Redis stays
    silent, no call waits. Well below Envoy's timeout for the Check."""

    threads: Annotated[int, Reader(f"a whole number from 1 to {MAX_THREADS}", readers.count(1, MAX_THREADS))] = 4
    """Checks worked on at a time. Judging is bound to one core, so more threads only help calls that wait for others."""

    grace_seconds: Annotated[float, Reader("seconds from 0 to 3600", readers.number(0, 3600))] = 10.0
    """How long calls in flight may take after SIGTERM, before the server ends. Below Kubernetes' 30 s, so that logs get out."""

    tls_cert: Annotated[Path | None, FILE] = None
    """Our certificate chain (PEM). With `tls_key`: TLS on `listen`. Empty: plaintext, for loopback and Unix sockets."""

    tls_key: Annotated[Path | None, FILE] = None
    """The certificate's private key (PEM)."""

    tls_client_ca: Annotated[Path | None, FILE] = None
    """Authorities (PEM) that must have signed the client's certificate: mutual TLS. Empty: clients aren't asked for one."""

    max_message_bytes: Annotated[int, Reader("a size from 64KiB to 1GiB", readers.size(2**16, 2**30))] = 2**20 + 2**17
    """Largest CheckRequest accepted. Must exceed Envoy's `max_request_bytes` by the headers (60 KiB); the default serves
    1 MiB of body."""

    log_level: Annotated[str, Reader("debug, info, warning or error", readers.one_of("debug", "info", "warning", "error"))] = (
        "info"
    )
    """Least severe events that are written to standard error. The decision log is separate."""

    watch_seconds: Annotated[float, Reader("seconds from 0.05 to 3600", readers.number(0.05, MAX_WATCH_SECONDS))] = 1.0
    """How often policy and bundle are looked at. Polling, because notifications don't cross network file systems; on object
    storage each look is one request."""


def _readers() -> dict[str, Reader]:
    hints = get_type_hints(Settings, include_extras=True)
    return {field.name: hints[field.name].__metadata__[0] for field in fields(Settings)}


READERS: Final = _readers()


def setting_names() -> tuple[str, ...]:
    """List the settings in their order."""
    return tuple(READERS)


def to_flag(name: str) -> str:
    """Name a setting's flag: `decision_log` -> `--decision-log`."""
    return "--" + name.replace("_", "-")


def read_settings(env: Mapping[str, str], flags: Mapping[str, str | None]) -> tuple[Settings, tuple[str, ...]]:
    """Read all settings; return them, with defaults where a value is wrong, and every problem.

    `flags` by setting name; None is a flag that wasn't given. Each problem names the flag or variable, what was expected and the
    value, at most 100 characters of it and none of a secret.
    """
    values: dict[str, Any] = {}
    problems = [*unknown_variables(env, PREFIX, [PREFIX + name.upper() for name in READERS]), *_unknown_flags(flags)]
    for name, reader in READERS.items():
        given, text = to_flag(name), flags.get(name)
        if text is None:
            given, text = PREFIX + name.upper(), env.get(PREFIX + name.upper())
        if text is None:
            continue
        try:
            values[name] = reader.read(text)
        except (ValueError, OSError):  # OSError: a path too long to be looked at
            problems.append(f"{given}: expected {reader.expected}, got {_shown(text, reader)}")
    settings = Settings(**values)
    problems += _contradictions(settings)
    if "policy" not in values and settings.policy is not None and not settings.policy.is_file():
        settings = replace(settings, policy=None)
    return settings, tuple(problems)


def _shown(text: str, reader: Reader) -> str:
    return "a hidden value" if reader.secret else repr(cut(_CREDENTIALS.sub(_hide, text)))


def _hide(found: re.Match[str]) -> str:
    return f"{found[1]}***@" if found[1] else f"{found[2]}***"


def unknown_variables(env: Mapping[str, str], prefix: str, known: list[str]) -> Iterator[str]:
    """Name the variables that begin with `prefix` and aren't known, but for what Kubernetes sets for a Service of that name."""
    for variable in sorted(env):
        if not variable.startswith(prefix) or variable in known:
            continue
        service_link = _SERVICE_LINK.search(variable) or (variable.endswith("_PORT") and "://" in env[variable])
        if not service_link:
            yield f"{variable[:100]}: expected a known setting{nearest(variable, known, prefix)}"


def _unknown_flags(flags: Mapping[str, str | None]) -> Iterator[str]:
    known = [to_flag(name) for name in READERS]
    for name in flags:
        if name not in READERS:
            yield f"{to_flag(name)}: expected a known flag{nearest(to_flag(name), known, '--')}"


def nearest(name: str, known: list[str], prefix: str = "") -> str:
    """Suggest the known name that `name` was probably meant to be, as the end of a sentence; empty when none is near.

    All begin with `prefix`, which would make any two look alike.
    """
    from difflib import get_close_matches  # only for a start that fails

    found = get_close_matches(name.removeprefix(prefix)[:100], [one.removeprefix(prefix) for one in known], n=1, cutoff=0.6)
    return f", did you mean {prefix}{found[0]}?" if found else ""


def _contradictions(settings: Settings) -> Iterator[str]:
    if settings.tls_cert and not settings.tls_key:
        yield "tls_key: expected the private key of tls_cert, got nothing"
    if settings.tls_key and not settings.tls_cert:
        yield "tls_cert: expected the certificate of tls_key, got nothing"
    if settings.tls_client_ca and not (settings.tls_cert or settings.tls_key):
        yield "tls_client_ca: expected tls_cert and tls_key beside it, since without TLS no client shows a certificate"
    if settings.listen == settings.admin and not settings.listen.endswith(":0"):
        yield f"admin: expected another address than listen, got {settings.admin!r} for both"


def to_public(settings: Settings) -> dict[str, object]:
    """Show all settings, as JSON has them, with secrets and credentials in URLs hidden."""
    shown: dict[str, object] = {}
    for name, reader in READERS.items():
        value = getattr(settings, name)
        if reader.secret:
            shown[name] = "***" if value else ""
        elif isinstance(value, Path | str):
            shown[name] = _CREDENTIALS.sub(_hide, str(value))
        else:
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown
