"""From two contracts of ours to what is new, gone and changed between them; counts and times alone are no change."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from trainer.openapi.contract import Contract, Field, Operation

__all__ = ["Change", "ChangeKind", "changes", "to_lines"]


class ChangeKind(StrEnum):
    """What happened."""

    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change: `what` of an endpoint (a value's key, `response 404`, ...; empty: the endpoint itself), from `old` to `new`."""

    kind: ChangeKind
    workload: str
    endpoint: str = ""
    what: str = ""
    old: str = ""
    new: str = ""
    calls: int = 0


_LIMITS: Final = (
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("min_length", "length at least"),
    ("max_length", "length at most"),
    ("pattern", "pattern"),
    ("format", "format"),
)


def changes(old: Mapping[str, Contract], new: Mapping[str, Contract]) -> list[Change]:
    """List what differs, sorted; contracts by their workload."""
    found: list[Change] = []
    for workload in sorted(old.keys() | new.keys()):
        before, after = old.get(workload), new.get(workload)
        if before is None or after is None:
            found.append(Change(ChangeKind.NEW if before is None else ChangeKind.GONE, workload))
        else:
            found += _of_workload(workload, before, after)
    return found


def _of_workload(workload: str, old: Contract, new: Contract) -> Iterator[Change]:
    for endpoint in sorted(old.endpoints.keys() | new.endpoints.keys(), key=lambda endpoint: endpoint.split(" ")[::-1]):
        before, after = old.endpoints.get(endpoint), new.endpoints.get(endpoint)
        if before is None or after is None:
            kind, one = (ChangeKind.NEW, after) if before is None else (ChangeKind.GONE, before)
            yield Change(kind, workload, endpoint, calls=one.calls if one is not None else 0)
        else:
            facts_before, facts_after = _facts(before), _facts(after)
            for what in sorted(facts_before.keys() | facts_after.keys()):
                was, is_now = facts_before.get(what), facts_after.get(what)
                if was != is_now:
                    kind = ChangeKind.NEW if was is None else ChangeKind.GONE if is_now is None else ChangeKind.CHANGED
                    calls = after.fields[what].calls if what in after.fields else after.responses.get(what[9:], 0)
                    yield Change(kind, workload, endpoint, what, was or "", is_now or "", calls)


def _facts(operation: Operation) -> dict[str, str]:
    """What is said of an endpoint, in words, by what it is about."""
    facts = {key: _words(field) for key, field in operation.fields.items()}
    facts |= {f"response {status}": "seen" for status in operation.responses if status != "default"}
    facts |= {f"body {media}": "seen" for media in operation.media}
    if operation.credentials:
        ways = sorted([" and ".join(sorted(way)) or "nothing" for way in operation.credentials])
        facts["credentials"] = " or ".join(ways)
    return facts


def _words(field: Field) -> str:
    words = [" or ".join(sorted(field.types)) or "anything"]
    if field.required:
        words.append("required")
    if field.enum is not None or field.unread:
        names = [name or '""' for name in sorted(field.enum or field.named)]
        words.append(f"one of {', '.join([*names, *([f'{field.unread} that cannot be named'] if field.unread else [])])}")
    for name, label in _LIMITS:
        limit = getattr(field, name)
        if limit not in (None, ""):
            words.append(f"{label} {limit}")
    return ", ".join(words)


_SIGNS: Final = {ChangeKind.NEW: "+", ChangeKind.GONE: "-", ChangeKind.CHANGED: "~"}


def to_lines(found: list[Change]) -> list[str]:
    """Say it for a person: `+` new, `-` gone, `~` changed, grouped by workload and endpoint."""
    lines: list[str] = []
    workload = endpoint = ""
    for change in found:
        sign = _SIGNS[change.kind]
        if not change.endpoint:
            lines.append(f"{sign} {change.workload}")
            continue
        if change.workload != workload:
            workload, endpoint = change.workload, ""
            lines.append(f"  {workload}")
        if not change.what:
            lines.append(f"{sign}   {change.endpoint}  ({change.calls:,} calls)")
            continue
        if change.endpoint != endpoint:
            endpoint = change.endpoint
            lines.append(f"    {endpoint}")
        values = f"{change.old} -> {change.new}" if change.kind is ChangeKind.CHANGED else change.new or change.old
        lines.append(f"{sign}     {change.what}: {values}")
    return lines or ["no difference"]
