"""The enforcement policy file: `enforcement.yaml` -> Enforcement, with every problem at once, and watched.

What may stand in the file is decided here and nowhere else; what it means for a call is `engine/policy.py`. A bad file stops the
start; later, a bad new one keeps the old one in force, and says so.
"""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from authz_server.engine.errors import PolicyError, cut
from authz_server.engine.policy import EndpointPolicy, Enforcement, Mode, Rule, SessionSource, WorkloadPolicy
from authz_server.log import StateLog
from authz_server.settings import nearest
from authz_server.strict_yaml import parse_yaml

__all__ = ["MAX_BYTES", "EnforcementFile", "load_enforcement", "parse_enforcement", "to_public"]

MAX_BYTES: Final = 2**20
"""Largest policy file; a thousand workloads with an endpoint each are about 100 KB and take 60 ms to read."""
MAX_SESSION_SOURCES: Final = 8
MAX_QUARANTINE_SECONDS: Final = 86_400
MAX_WORKLOAD_NAME: Final = 256
"""As long as `canonical.to_workload` lets a name be."""

_METHOD = re.compile(r"!?[A-Z][A-Z_-]{0,31}\Z")
_CLAIM = re.compile(r"[^\s]{1,128}\Z")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
"""RFC 9110, 5.6.2: what a header or cookie may be called."""


class _Problems:
    """Collects what is wrong, each with the path to it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, path: str, expected: str, got: object) -> None:
        shown = repr(cut(got)) if isinstance(got, str) else _kind(got)
        self.lines.append(f"{path or 'the document'}: expected {expected}, got {shown}")

    def mapping(self, path: str, value: object, known: tuple[str, ...]) -> dict[str, Any]:
        """Check for a mapping with `known` keys only; return what is known of it."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.add(path, "a mapping", value)
            return {}
        for key in value:
            if key not in known:
                below = f"{path}.{cut(key)}" if path else cut(key)
                hint = nearest(key, list(known)) or f", expected one of {', '.join(known)}"
                self.lines.append(f"{below}: unknown key{hint}")
        return {key: value[key] for key in known if key in value}


def _kind(value: object) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    return cut(value)


def _mode(path: str, value: object, problems: _Problems) -> Mode | None:
    try:
        return Mode(str(value))
    except ValueError:
        problems.add(path, "off, dry_run or enforce", value)
        return None


def _budget(path: str, value: object, problems: _Problems) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1:
        return float(value)
    problems.add(path, "a share between 0 and 1, both excluded", value)
    return None


def _flag(path: str, value: object, problems: _Problems) -> bool | None:
    if isinstance(value, bool):
        return value
    problems.add(path, "true or false", value)
    return None


def _seconds(path: str, value: object, problems: _Problems) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_QUARANTINE_SECONDS:
        return float(value)
    problems.add(path, f"seconds from 0 to {MAX_QUARANTINE_SECONDS:,}", value)
    return None


def _session(path: str, value: object, problems: _Problems) -> tuple[SessionSource, ...] | None:
    if not isinstance(value, list) or len(value) > MAX_SESSION_SOURCES:
        problems.add(path, f"a list of at most {MAX_SESSION_SOURCES} sources", value)
        return None
    return tuple([_source(f"{path}[{i}]", item, problems) for i, item in enumerate(value)])


def _source(path: str, value: object, problems: _Problems) -> SessionSource:
    if value == "principal":
        return SessionSource(principal=True)
    if value == "address":
        return SessionSource(address=True)
    if isinstance(value, dict) and "claim" in value and value.keys() <= {"claim", "unverified"}:
        name, unverified = value["claim"], value.get("unverified", False)
        if isinstance(name, str) and _CLAIM.match(name) and isinstance(unverified, bool):
            return SessionSource(claim=name, unverified=unverified)
    elif isinstance(value, dict) and len(value) == 1:
        ((key, name),) = value.items()
        if key in ("cookie", "header") and isinstance(name, str) and _TOKEN.match(name):
            return SessionSource(cookie=name) if key == "cookie" else SessionSource(header=name.lower())
    problems.add(path, "principal, address, {cookie: NAME}, {header: NAME} or {claim: NAME[, unverified: true]}", value)
    return SessionSource()


_OPTIONS: Final[dict[str, Callable[[str, object, _Problems], Any]]] = {
    "mode": _mode,
    "budget": _budget,
    "failure_mode_allow": _flag,
    "non_http_allow": _flag,
    "session": _session,
    "quarantine": _seconds,
}
_ENDPOINT_OPTIONS: Final = ("mode", "budget")


def _options(path: str, value: dict[str, Any], problems: _Problems) -> dict[str, Any]:
    """Read the options that are set; an option set to nothing counts as not set."""
    return {name: read(f"{path}.{name}", value[name], problems) for name, read in _OPTIONS.items() if value.get(name) is not None}


def _workload(path: str, value: object, problems: _Problems) -> WorkloadPolicy:
    known = problems.mapping(path, value, (*_OPTIONS, "endpoints"))
    given = known.get("endpoints")
    if given is not None and not isinstance(given, dict):
        problems.add(f"{path}.endpoints", "a mapping", given)
        given = None
    endpoints = {}
    for endpoint, options in (given or {}).items():
        below = f"{path}.endpoints.{cut(endpoint)}"
        wrong = _wrong_endpoint(endpoint)
        if wrong:
            problems.lines.append(f"{below}: {wrong}")
        endpoints[endpoint] = EndpointPolicy(**_options(below, problems.mapping(below, options, _ENDPOINT_OPTIONS), problems))
    return WorkloadPolicy(**_options(path, known, problems), endpoints=endpoints)


def _wrong_endpoint(endpoint: str) -> str:
    method, _, template = endpoint.partition(" ")
    if not _METHOD.match(method) or not template.startswith("/") or re.search(r"\s", template):
        return "expected METHOD /template, like POST /cart/{*}"
    if any(part != "{*}" and ("{" in part or "}" in part) for part in template.split("/")):
        return "expected {*} as a whole segment, the only wildcard"
    return ""


def parse_enforcement(data: bytes, mode_override: Mode | None = None) -> Enforcement:
    """Read a policy; raises PolicyError with every problem. `mode_override` takes the place of the default mode."""
    if len(data) > MAX_BYTES:
        raise PolicyError(f"the document: expected at most {MAX_BYTES:,} bytes, got {len(data):,}")
    document, unreadable = parse_yaml(data)
    if document is None and unreadable:
        raise PolicyError(*unreadable)
    problems = _Problems()
    problems.lines += unreadable
    known = problems.mapping("", document, ("version", "defaults", "workloads"))
    version = known.get("version")
    if type(version) is not int or version != 1:
        problems.add("version", "1", version)
    defaults = _options("defaults", problems.mapping("defaults", known.get("defaults"), tuple(_OPTIONS)), problems)
    given = known.get("workloads")
    if given is not None and not isinstance(given, dict):
        problems.add("workloads", "a mapping from namespace/name", given)
        given = None
    workloads = {}
    for name, value in (given or {}).items():
        if not name or len(name) > MAX_WORKLOAD_NAME or re.search(r"\s", name):
            problems.add("workloads", f"namespace/name, at most {MAX_WORKLOAD_NAME} characters", name)
        workloads[name] = _workload(f"workloads.{cut(name)}", value, problems)
    if problems.lines:
        raise PolicyError(*problems.lines)
    if mode_override is not None:
        defaults["mode"] = mode_override
    if "quarantine" in defaults:
        defaults["quarantine_seconds"] = defaults.pop("quarantine")
    return Enforcement(Rule(**defaults), workloads)


def load_enforcement(path: Path | None, mode_override: Mode | None = None) -> Enforcement:
    """Read a policy file; None: the built-in defaults. Raises PolicyError with every problem, each with the file's name."""
    if path is None:
        return Enforcement(Rule() if mode_override is None else Rule(mode_override), {})
    return _parse(path, _read(path), mode_override)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path}: expected a readable file: {error.strerror}") from error


def _parse(path: Path, data: bytes, mode_override: Mode | None) -> Enforcement:
    try:
        return parse_enforcement(data, mode_override)
    except PolicyError as error:
        raise PolicyError(*[f"{path}: {problem}" for problem in error.problems]) from error


class EnforcementFile:
    """The policy in force, `current`, and how it follows its file: `poll` is called by a Watch.

    Contents are compared, not times: a few KB a look, and it sees through ConfigMap symlinks, restored backups and edits within a
    clock tick. `problem` is why the file is not in force, empty when it is; `failures` counts bad versions. Reading `current`
    from any thread is safe: it is replaced as a whole.
    """

    def __init__(
        self,
        path: Path | None,
        mode_override: Mode | None = None,
        on_change: Callable[[Enforcement], None] | None = None,
        settle_seconds: float = 0.05,
    ) -> None:
        """Load for the first time; raises PolicyError. `settle_seconds`: how long new contents must stay to be believed."""
        self.path = path
        self.problem = ""
        self.failures = 0
        self.loaded_at = time.time()
        self._mode_override = mode_override
        self._on_change = on_change
        self._settle_seconds = settle_seconds
        self._seen = _read(path) if path is not None else b""
        self._bad: bytes | None = None
        self._state = StateLog(logging.getLogger(__name__), "policy_refused", "policy_accepted")
        self.current = load_enforcement(None, mode_override) if path is None else _parse(path, self._seen, mode_override)

    def poll(self) -> bool:
        """Look at the file; return whether the policy was replaced. Never raises."""
        if self.path is None:
            return False
        try:
            data = _settled(self.path, self._seen, self._settle_seconds)
        except PolicyError as error:
            self._refuse(error, None)
            return False
        if data is None or data == self._bad:
            return False
        if data == self._seen:
            self._accept(None)
            return False
        try:
            current = _parse(self.path, data, self._mode_override)
        except PolicyError as error:
            self._refuse(error, data)
            return False
        self._seen = data
        self._accept(current)
        return True

    def _accept(self, current: Enforcement | None) -> None:
        self._bad = None
        if current is not None:
            self.current = current
            self.loaded_at = time.time()
            if self._on_change is not None:
                self._on_change(current)
        changed = self._state.good(policy=str(self.path))
        if current is not None and not changed:
            logging.getLogger(__name__).info("policy_loaded", extra={"fields": {"policy": str(self.path)}})
        self.problem = ""

    def _refuse(self, error: PolicyError, data: bytes | None) -> None:
        self._bad = data
        problem = str(error)
        if problem != self.problem:
            self.failures += 1
            self.problem = problem
        self._state.bad(problem, problems=error.problems)


def _settled(path: Path, seen: bytes, seconds: float) -> bytes | None:
    """Read the file; None where it is being written: new contents must stay a moment, since half a file is often valid YAML."""
    data = _read(path)
    if data == seen:
        return data
    time.sleep(seconds)
    return data if data == _read(path) else None


def to_public(enforcement: Enforcement) -> dict[str, object]:
    """Show a policy as JSON has it, for /config; options that aren't set are left out of `workloads`."""
    import msgspec

    shown: dict[str, object] = msgspec.to_builtins({"defaults": enforcement.defaults, "workloads": enforcement.workloads})
    return shown
