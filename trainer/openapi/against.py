"""From what is seen (our contract) and what is documented (the user's) to where they disagree.

Undocumented ("shadow"): seen, not documented. Unused: documented, never seen. Deprecated but used ("zombie"). Contradicting: a
value, credential or status that isn't as documented. Templates match by their places, whatever their parameters are called; a
documented template also covers names, and a name is taken for used where it may be behind a learned template.
"""

import re
from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from authz_server.engine.endpoint import WILDCARD
from trainer.openapi.conflict import conflicts
from trainer.openapi.contract import Contract, Field, Operation

__all__ = ["Disagreement", "DisagreementKind", "disagreements", "to_lines"]


_INDEX: Final = re.compile(r"\[[0-9]*\]")


class DisagreementKind(StrEnum):
    """How the two disagree."""

    UNDOCUMENTED = "undocumented"
    UNUSED = "unused"
    DEPRECATED = "deprecated"
    CONTRADICTING = "contradicting"


class Disagreement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One disagreement about an endpoint or, where `what` is given, a value, credential or status of it.

    `endpoint` empty: about a header or cookie, which clients send to all endpoints alike.

    `calls` that are behind it; `refused`: all calls of the endpoint were answered with an error.
    """

    kind: DisagreementKind
    endpoint: str
    what: str = ""
    seen: str = ""
    documented: str = ""
    calls: int = 0
    refused: bool = False


def disagreements(ours: Contract, theirs: Contract) -> list[Disagreement]:
    """List all, the kinds in their order, within a kind endpoints before values, the most called first."""
    prefix = _prefix(ours, theirs)
    documented = {_with(prefix, endpoint): _shifted(operation, prefix) for endpoint, operation in theirs.endpoints.items()}
    found: list[Disagreement] = []
    used: set[str] = set()
    for endpoint, operation in sorted(ours.endpoints.items()):
        match = _match(endpoint, documented)
        if match is None:
            kind = DisagreementKind.UNDOCUMENTED
            found.append(Disagreement(kind, endpoint, calls=operation.calls, refused=_is_refused(operation)))
            continue
        used.add(match)
        found += _of_endpoint(endpoint, operation, documented[match])
    seen_templates = [endpoint for endpoint in ours.endpoints if WILDCARD in endpoint]
    for endpoint in sorted(documented.keys() - used):
        if not any(_covers(template, endpoint) for template in seen_templates):
            found.append(Disagreement(DisagreementKind.UNUSED, endpoint))
    order = list(DisagreementKind)
    return sorted(
        set(found), key=lambda one: (order.index(one.kind), one.what != "", one.refused, -one.calls, one.endpoint, one.what)
    )


def _prefix(ours: Contract, theirs: Contract) -> str:
    """Choose where the documented paths begin: with a server's path or without, whichever fits more of what was seen."""

    def fits(prefix: str) -> int:
        documented = {_with(prefix, endpoint): operation for endpoint, operation in theirs.endpoints.items()}
        return sum(_match(endpoint, documented) is not None for endpoint in ours.endpoints)

    return max(["", *sorted(set(theirs.prefixes))], key=fits)


def _with(prefix: str, endpoint: str) -> str:
    method, _, template = endpoint.partition(" ")
    return f"{method} {prefix}{template}"


def _shifted(operation: Operation, prefix: str) -> Operation:
    """Name path parameters by their positions behind the prefix."""

    def shifted(key: str) -> str:
        return f"path:{int(key[5:]) + prefix.count('/')}" if key.startswith("path:") else key

    return msgspec.structs.replace(operation, fields={shifted(key): field for key, field in operation.fields.items()})


def _covers(template: str, endpoint: str) -> bool:
    """Tell whether each segment of an endpoint is the template's, or stands where the template has `{*}`."""
    general, special = template.split("/"), endpoint.split("/")
    return len(general) == len(special) and all(one in (other, WILDCARD) for one, other in zip(general, special, strict=True))


def _match(endpoint: str, documented: dict[str, Operation]) -> str | None:
    """Find the documented endpoint that says most about a seen one."""
    if endpoint in documented:
        return endpoint
    covering = [one for one in documented if _covers(one, endpoint)]
    return min(covering, key=lambda one: (one.count(WILDCARD), one), default=None)


def _is_refused(operation: Operation) -> bool:
    statuses = [status for status, calls in operation.responses.items() if status.isdigit() and calls]
    return bool(statuses) and all(int(status) >= 400 for status in statuses)


def _of_endpoint(endpoint: str, ours: Operation, theirs: Operation) -> Iterator[Disagreement]:
    kind = DisagreementKind
    if theirs.deprecated:
        yield Disagreement(kind.DEPRECATED, endpoint, calls=ours.calls)
    for key, field in sorted(ours.fields.items()):
        if key.startswith("graphql:"):
            continue  # no document says what a GraphQL document may select
        said = _lookup(key, theirs.fields)
        if said is None:
            if not _is_covered(key, theirs.fields):
                of_all = key.startswith(("header:", "cookie:"))
                yield Disagreement(kind.UNDOCUMENTED, "" if of_all else endpoint, key, calls=field.calls)
            continue
        if said.deprecated and field.calls:
            yield Disagreement(kind.DEPRECATED, endpoint, key, calls=field.calls)
        each = theirs.fields.get(f"{key}[*]", said)  # an array that is sent as one value that comes several times
        for seen, documented in conflicts(key, field, msgspec.structs.replace(each, required=said.required)):
            yield Disagreement(kind.CONTRADICTING, endpoint, key, seen, documented, field.calls or ours.calls)
    all_seen = {*ours.fields, *[_INDEX.sub("[*]", key) for key in ours.fields]}
    unseen = {key for key in theirs.fields if key not in all_seen and not _may_be_seen(key, all_seen)}
    for key, said in sorted(theirs.fields.items()):
        if key in unseen and _is_listed(key, unseen):
            if said.required and (not key.startswith("body:") or ours.media):
                yield Disagreement(kind.CONTRADICTING, endpoint, key, "never there", "required", ours.calls)
            else:
                yield Disagreement(kind.UNUSED, endpoint, key)
    yield from _of_statuses(endpoint, ours, theirs)
    needed = theirs.credentials and frozenset() not in theirs.credentials
    if needed and (not ours.credentials or frozenset() in ours.credentials):
        ways = " or ".join(sorted(" and ".join(sorted(way)) for way in theirs.credentials))
        yield Disagreement(kind.CONTRADICTING, endpoint, "credentials", "also without", f"with {ways}", ours.calls)


def _lookup(key: str, documented: dict[str, Field]) -> Field | None:
    """Find what is said of a value; of a property by name, else of all of a map."""
    for one in (key, _INDEX.sub("[*]", key)):
        if one in documented:
            return documented[one]
    key = _INDEX.sub("[*]", key)
    head, part = _parted(key)
    if part == "[*]":  # an array is also documented as one value that comes several times
        return documented.get(head)
    return documented.get(f"{head}{part[0]}{WILDCARD}{']' if part[0] == '[' else ''}") if part else None


def _parted(key: str) -> tuple[str, str]:
    """Part a key into what holds a value and the value's own part; nothing where nothing holds it."""
    at = key.rfind("/") if key.startswith("body:/") else key.rfind("[") if key.endswith("]") else -1
    return (key[:at], key[at:]) if at > 0 else (key, "")


def _is_covered(key: str, documented: dict[str, Field]) -> bool:
    """Tell whether a value stands below one of which the document doesn't say what it holds."""
    if not key.startswith("body:/"):
        holder = _parted(_INDEX.sub("[*]", key))
        while holder[1]:
            if holder[0] in documented:
                said = documented[holder[0]]
                return said.is_open or ("object" in said.types and not _is_said(holder[0], documented))
            holder = _parted(holder[0])
        return False
    parts = key.split("/")
    above = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
    if parts[-1] == WILDCARD:  # names that look like data are seen as one; the document may list them
        return any(one.startswith(f"{above[1]}/") for one in documented)
    return any(one in documented and documented[one].is_open for one in above)


def _is_said(holder: str, documented: dict[str, Field]) -> bool:
    return any(one.startswith(f"{holder}[") for one in documented)


def _may_be_seen(key: str, seen: Collection[str]) -> bool:
    """Tell whether a documented value may be among what was seen: containers, names that look like data, maps."""
    head, part = _parted(key)
    if part == "[*]" and head in seen:
        return True
    if part[1:].startswith(WILDCARD):
        return any(one.startswith(f"{head}{part[0]}") for one in seen)
    if not key.startswith("body:/"):
        return key in seen or key == "body:" or any(one.startswith(f"{key}[") for one in seen)
    return any(one.startswith((f"{key}/", f"{head}/{WILDCARD}")) for one in seen)


def _is_listed(key: str, unseen: Collection[str]) -> bool:
    """Tell whether what was never seen is told by itself: not where what holds it wasn't either."""
    holder = _parted(key)
    while holder[1]:
        if holder[0] in unseen:
            return False
        holder = _parted(holder[0])
    return True


def _of_statuses(endpoint: str, ours: Operation, theirs: Operation) -> Iterator[Disagreement]:
    if "default" in theirs.responses or not theirs.responses:
        return
    for status, calls in sorted(ours.responses.items()):
        if status != "default" and status not in theirs.responses and f"{status[0]}XX" not in theirs.responses:
            documented = ", ".join(sorted(theirs.responses))
            yield Disagreement(DisagreementKind.CONTRADICTING, endpoint, f"response {status}", "seen", documented, calls)


_HEADINGS: Final = {
    DisagreementKind.UNDOCUMENTED: "undocumented (shadow)",
    DisagreementKind.UNUSED: "documented, never seen",
    DisagreementKind.DEPRECATED: "deprecated, still used (zombie)",
    DisagreementKind.CONTRADICTING: "not as documented",
}


def to_lines(found: list[Disagreement], notes: tuple[str, ...]) -> list[str]:
    """Say it for a person, by kind."""
    lines: list[str] = []
    for kind, heading in _HEADINGS.items():
        of_kind = [one for one in found if one.kind is kind]
        if of_kind:
            lines.append(f"{heading}: {len(of_kind)}")
            lines += [f"  {_line(one)}" for one in of_kind]
    lines += [f"note: {note}" for note in notes]
    return lines or ["no disagreement"]


def _line(one: Disagreement) -> str:
    subject = f"{one.endpoint or 'any endpoint'}  {one.what}" if one.what else one.endpoint
    contrast = f": {one.seen}; documented: {one.documented}" if one.seen else ""
    calls = f"  ({one.calls:,} calls{', all refused' if one.refused else ''})" if one.calls else ""
    return f"{subject}{contrast}{calls}"
