"""Exceptions file: who stays allowed whatever was learned, and which labels select a workload's pods; with every problem at once.

In: `exceptions.yaml`, which a person writes and nothing here ever does. Out: Exceptions. What may stand in the file is decided
here; values are held against the same rules as any policy's (`check.py`).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from authz_server.engine.errors import PolicyError, cut
from authz_server.settings import nearest
from authz_server.strict_yaml import parse_yaml
from trainer.policies.policy import (
    AuthorizationPolicy,
    From,
    Metadata,
    Operation,
    Rule,
    Selector,
    Source,
    Spec,
    To,
    to_object,
)
from trainer.policies.validity.check import check

__all__ = ["MAX_BYTES", "Exceptions", "Exempt", "parse_exceptions", "read_exceptions", "to_rule"]

MAX_BYTES: Final = 2**20
_MAX_EXCEPTIONS: Final = 64
"""Each is a rule of every policy it is for, and a policy has 512."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_WORKLOAD = re.compile(r"[a-z0-9-]{1,63}/(?:\*|[a-z0-9.-]{1,253})\Z")
_LISTS: Final = ("principals", "namespaces", "ip_blocks", "methods", "paths", "ports")
_KEYS: Final = ("name", "workloads", "unjudged", *_LISTS)


class Exempt(msgspec.Struct, frozen=True):
    """Calls that stay allowed at `workloads` (empty: all; `ns/*`: a namespace's): those that match all fields that are set.

    `unjudged`: the authz_server isn't asked about these paths or ports either, whoever calls.
    """

    name: str
    workloads: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    unjudged: bool = False

    def covers(self, workload: str) -> bool:
        """Tell whether the exception is for a workload."""
        return not self.workloads or workload in self.workloads or f"{workload.partition('/')[0]}/*" in self.workloads

    @property
    def anonymous(self) -> bool:
        """Whether callers without an identity match."""
        return not self.principals and not self.namespaces


class Exceptions(msgspec.Struct, frozen=True):
    """What a file says; `selectors`: labels by workload."""

    exceptions: tuple[Exempt, ...] = ()
    selectors: dict[str, dict[str, str]] = {}

    def of(self, workload: str) -> tuple[Exempt, ...]:
        """List a workload's exceptions, in the file's order."""
        return tuple([one for one in self.exceptions if one.covers(workload)])


def to_rule(exception: Exempt) -> Rule:
    """Write an exception as a rule of an ALLOW policy."""
    source = Source(principals=exception.principals, namespaces=exception.namespaces, ip_blocks=exception.ip_blocks)
    operation = Operation(methods=exception.methods, paths=exception.paths, ports=exception.ports)
    return Rule((From(source),) if source != Source() else (), (To(operation),) if operation != Operation() else ())


def read_exceptions(path: Path) -> Exceptions:
    """Read a file; raises PolicyError with every problem, each with the file's name."""
    try:
        with path.open("rb") as file:
            return parse_exceptions(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise PolicyError(f"{path}: expected a readable file: {error.strerror}") from error
    except PolicyError as error:
        raise PolicyError(*[f"{path}: {problem}" for problem in error.problems]) from error


def parse_exceptions(data: bytes) -> Exceptions:
    """Read the file's contents; raises PolicyError with every problem."""
    if len(data) > MAX_BYTES:
        raise PolicyError(f"the document: expected at most {MAX_BYTES:,} bytes, got {len(data):,}")
    document, problems = parse_yaml(data)
    if document is None and problems:
        raise PolicyError(*problems)
    known = _mapping("", document, ("version", "selectors", "exceptions"), problems)
    if type(known.get("version")) is not int or known["version"] != 1:
        problems.append(f"version: expected 1, got {_shown(known.get('version'))}")
    selectors = {
        name: _selector(f"selectors.{cut(name)}", name, labels, problems)
        for name, labels in _mapping("selectors", known.get("selectors"), None, problems).items()
    }
    listed = known.get("exceptions")
    if listed is not None and not (isinstance(listed, list) and len(listed) <= _MAX_EXCEPTIONS):
        problems.append(f"exceptions: expected a list of at most {_MAX_EXCEPTIONS}, got {_shown(listed)}")
        listed = []
    exceptions = [_exception(f"exceptions[{i}]", one, problems) for i, one in enumerate(listed or [])]
    names = [one.name for one in exceptions]
    problems += [f"exceptions: expected each name once, got {name!r} again" for name in _repeated(names)]
    if problems:
        raise PolicyError(*problems)
    return Exceptions(tuple(exceptions), selectors)


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if name and names.count(name) > 1})


def _exception(path: str, value: object, problems: list[str]) -> Exempt:
    known = _mapping(path, value, _KEYS, problems)
    name = known.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        problems.append(f"{path}.name: expected lower-case letters, digits and -, got {_shown(name)}")
        name = ""
    workloads = _texts(f"{path}.workloads", known.get("workloads"), problems)
    problems += [
        f"{path}.workloads: expected namespace/name or namespace/*, got {cut(one)!r}"
        for one in workloads
        if not _WORKLOAD.match(one)
    ]
    unjudged = known.get("unjudged")
    if unjudged is not None and not isinstance(unjudged, bool):
        problems.append(f"{path}.unjudged: expected true or false, got {_shown(unjudged)}")
    lists = {field: _texts(f"{path}.{field}", known.get(field), problems) for field in _LISTS}
    exception = Exempt(name, workloads, **lists, unjudged=unjudged is True)
    problems += [f"{path}: {problem}" for problem in _wrong(exception)]
    return exception


def _wrong(exception: Exempt) -> Iterable[str]:
    rule = to_rule(exception)
    if rule == Rule():
        yield f"expected at least one of {', '.join(_LISTS)}: without any, everything is allowed"
        return
    if exception.unjudged and bool(exception.paths) == bool(exception.ports):
        yield "unjudged: expected either paths or ports, which are then judged for nobody"
    metadata = Metadata("exception", "exception")
    policy = AuthorizationPolicy(metadata, Spec(Selector({"app": "exception"}), rules=(rule,)))
    for problem in check(to_object(policy)).errors:
        yield problem.removeprefix("spec.rules[0].")


def _selector(path: str, workload: str, value: object, problems: list[str]) -> dict[str, str]:
    if not _WORKLOAD.match(workload) or workload.endswith("*"):
        problems.append(f"{path}: expected a workload as namespace/name")
    labels = _mapping(path, value, None, problems)
    if not labels:
        problems.append(f"{path}: expected at least one label: without any, a policy is for the whole namespace")
    problems += [
        f"{path}.{cut(key)}: expected a text, got {_shown(one)}" for key, one in labels.items() if not isinstance(one, str)
    ]
    found = {key: one for key, one in labels.items() if isinstance(one, str)}
    policy = AuthorizationPolicy(Metadata("exception", "exception"), Spec(Selector(found)))
    problems += [f"{path}: {problem}" for problem in check(to_object(policy)).errors]
    return found


def _mapping(path: str, value: object, known: tuple[str, ...] | None, problems: list[str]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path or 'the document'}: expected a mapping, got {_shown(value)}")
        return {}
    for key in value:
        if known is not None and key not in known:
            hint = nearest(key, list(known)) or f", expected one of {', '.join(known)}"
            problems.append(f"{path}.{cut(key)}: unknown key{hint}".removeprefix("."))
    return value


def _texts(path: str, value: object, problems: list[str]) -> tuple[str, ...]:
    """Read a list of texts; a port may be written as a number."""
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        problems.append(f"{path}: expected a list of texts that isn't empty, got {_shown(value)}")
        return ()
    texts = [str(one) if type(one) is int and path.endswith("ports") else one for one in value]
    problems += [f"{path}[{i}]: expected a text, got {_shown(one)}" for i, one in enumerate(texts) if not isinstance(one, str)]
    return tuple([one for one in texts if isinstance(one, str)])


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else repr(cut(value))
