"""End a policy's dry run in its file, which is where truth is kept; a push then takes it to the cluster.

In: files under `policies/`. Out: the same files without the annotation, otherwise byte for byte as they were. Whether it may be
done is `gate.py`'s question. A policy that is generated again keeps what its file says (`generate.py` reads it first), so a
promoted one stays promoted and a dry run stays a dry run.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from authz_server.engine.errors import PolicyError, StoreError, cut
from trainer.known_names import known_names
from trainer.policies.cluster.audit import Entry
from trainer.policies.cluster.difference import changes, digest, key
from trainer.policies.cluster.ownership import changed_at
from trainer.policies.cluster.plan import workload_of
from trainer.policies.document import parse_documents
from trainer.policies.policy import DRY_RUN, KIND, AuthorizationPolicy, from_object, to_object
from trainer.policies.promotion.condition import Condition
from trainer.policies.promotion.gate import DryRun, Gate, Replayed, Standing, Unmet, unmet

__all__ = [
    "Candidate",
    "Look",
    "Replay",
    "Watch",
    "candidates",
    "hold",
    "look_in",
    "promote_text",
    "promoted",
    "record",
    "write_files",
]

Replay = Callable[[AuthorizationPolicy], Replayed | None]
"""Holds the recorded calls of the gate's clean days against a policy as it would be enforced; None: nothing is recorded."""
Look = Callable[[AuthorizationPolicy], Standing | None]
"""Looks how a policy stands in the cluster; None: no cluster is at hand."""
Watch = Callable[[AuthorizationPolicy], DryRun | None]
"""Asks what the mesh's dry run counted; None: nobody can be asked."""

_LINE: Final = re.compile(rf"[ ]+[\"']?{re.escape(DRY_RUN)}[\"']?:[ ]+[\"']?true[\"']?[ ]*(?:#.*)?\Z")
_HEADING: Final = re.compile(r"[ ]+annotations:[ ]*\Z")


class Candidate(msgspec.Struct, frozen=True):
    """A policy that is a dry run, and what keeps it one; `waived`: what was, but somebody answers for it."""

    policy: AuthorizationPolicy
    unmet: tuple[Unmet, ...] = ()
    waived: tuple[Unmet, ...] = ()


def candidates(wanted: Sequence[dict[str, Any]], names: Collection[str]) -> list[AuthorizationPolicy]:
    """Choose the dry runs among policies: those named ("namespace/name", or a namespace), all where no name is given.

    Raises PolicyError where a name fits no policy.
    """
    policies = [from_object(one) for one in wanted]
    known = {name for one in policies for name in (_name(one), one.metadata.namespace)}
    missing = [
        f"promote: expected a policy's namespace/name or a namespace, one of {known_names(name, known)}, got {cut(name)!r}"
        for name in names
        if name not in known
    ]
    if missing:
        raise PolicyError(*missing)
    return [one for one in policies if one.dry_run and (not names or {_name(one), one.metadata.namespace} & set(names))]


def hold(
    policies: Sequence[AuthorizationPolicy],
    gate: Gate,
    look: Look,
    replay: Replay,
    watch: Watch,
    waived: Collection[Condition],
    now: float,
) -> list[Candidate]:
    """Hold each policy against the gate."""
    found = []
    for policy in policies:
        missing = unmet(policy, gate, look(policy), replay(policy), watch(policy), now)
        left = tuple(one for one in missing if one.condition not in waived)
        found.append(Candidate(policy, left, tuple(one for one in missing if one.condition in waived)))
    return found


def look_in(found: Sequence[dict[str, Any]]) -> Look:
    """Make a Look of what the cluster has."""
    there = {key(one): one for one in found}

    def look(policy: AuthorizationPolicy) -> Standing:
        one = there.get((policy.metadata.namespace, policy.metadata.name))
        if one is None or changes(to_object(policy), one):
            return Standing(equal=False)
        when = changed_at(one, ("spec", "rules"))
        try:
            return Standing(equal=True, since=None if when is None else datetime.fromisoformat(when).timestamp())
        except ValueError:
            return Standing(equal=True)

    return look


def record(one: Candidate, who: str, now: float) -> Entry:
    """Make the audit log's entry on what was decided about one policy's file."""
    new = promoted(one.policy)
    reasons = [f"{missing.condition}: {missing.text}" for missing in one.unmet]
    reasons += [f"waived {missing.condition}: {missing.text}" for missing in one.waived]
    return Entry(
        ts=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        who=who,
        host="",
        context="files",
        action="promote",
        object=_name(one.policy),
        workload=workload_of(to_object(one.policy)),
        outcome="refused" if one.unmet else "changed",
        before=digest(to_object(one.policy)),
        after=digest(to_object(one.policy if one.unmet else new)),
        reason="; ".join(reasons),
    )


def promoted(policy: AuthorizationPolicy) -> AuthorizationPolicy:
    """Make a policy without its dry run."""
    annotations = {name: value for name, value in policy.metadata.annotations.items() if name != DRY_RUN}
    return msgspec.structs.replace(policy, metadata=msgspec.structs.replace(policy.metadata, annotations=annotations))


def promote_text(text: str, chosen: Collection[tuple[str, str]], place: str) -> str:
    """Take the dry run out of the chosen policies of a file (namespace and name), and leave every other byte.

    Raises PolicyError where the file isn't written so that this can be done line by line.
    """
    parts = re.split(r"(?m)^(---(?:[ \t].*)?\n)", text)
    out = []
    for part in parts:
        documents = parse_documents(part.encode(), place) if part.strip() and not part.startswith("---") else []
        mine = [one.object for one in documents if one.object.get("kind") == KIND and key(one.object) in chosen]
        out.append(_without(part, mine[0], place) if mine else part)
    return "".join(out)


def write_files(place: Path, chosen: Collection[tuple[str, str]]) -> list[Path]:
    """Promote the chosen policies in the files where they stand, each file replaced at once; returns the files.

    Raises PolicyError before anything is written where one can't be changed, StoreError where one can't be written.
    """
    files = sorted(one for one in place.iterdir() if one.suffix in (".yaml", ".yml")) if place.is_dir() else [place]
    changed: dict[Path, str] = {}
    problems: list[str] = []
    for file in files:
        text = file.read_bytes().decode("utf-8")
        try:
            new = promote_text(text, chosen, str(file))
        except PolicyError as error:
            problems += error.problems
            continue
        if new != text:
            changed[file] = new
    if problems:
        raise PolicyError(*problems)
    for file, text in changed.items():
        _replace(file, text)
    return list(changed)


def _without(text: str, thing: dict[str, Any], place: str) -> str:
    lines = text.splitlines(keepends=True)
    at = [number for number, line in enumerate(lines) if _LINE.match(line.rstrip("\r\n"))]
    kept = [line for number, line in enumerate(lines) if number not in at]
    if len(at) == 1 and _HEADING.match(lines[at[0] - 1].rstrip("\r\n")) and len(thing["metadata"].get("annotations") or {}) == 1:
        del kept[at[0] - 1]  # the only annotation: an empty heading would be null
    new = "".join(kept)
    expected = promoted(from_object(thing))
    found = [from_object(one.object) for one in parse_documents(new.encode(), place)] if len(at) == 1 else []
    if found != [expected]:
        raise PolicyError(
            f'{place}: expected one line {DRY_RUN}: "true" in {"/".join(key(thing))}: take it out by hand, then push'
        )
    return new


def _replace(file: Path, text: str) -> None:
    try:
        with tempfile.NamedTemporaryFile("wb", dir=file.parent, prefix=f".{file.name}.", delete=False) as opened:
            opened.write(text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        Path(opened.name).chmod(file.stat().st_mode & 0o777)
        Path(opened.name).replace(file)
    except OSError as error:
        raise StoreError(f"{file}: expected a file that can be replaced: {error.strerror}") from error


def _name(policy: AuthorizationPolicy) -> str:
    return f"{policy.metadata.namespace}/{policy.metadata.name}"
