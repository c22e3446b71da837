"""The file name of a segment, and the lock that says whether its writer still lives. Writer, finisher and reader agree here.

`calls-<UTC yyyymmddThhmmss>-<key id>-<instance>-<seq>.jsonl` while it is written, `.jsonl.gz` when it is finished. The name says
under which hash key its calls were recorded, so that a listing tells which segments can be learned together: digests under two
keys never compare equal.
"""

import fcntl
import os
import re
import secrets
import socket
from enum import StrEnum

import msgspec

__all__ = ["SegmentKind", "SegmentName", "default_instance", "lock_segment", "parse_segment", "to_file_name"]

_NAME = re.compile(r"(calls|outcomes)-([0-9]{8}T[0-9]{6})-(?:([0-9a-f]{16})-)?(.{1,128})-([0-9]{1,12})\.jsonl(\.gz|\.zst)?\Z")


class SegmentKind(StrEnum):
    """What the lines of a segment are."""

    CALLS = "calls"
    OUTCOMES = "outcomes"


class SegmentName(msgspec.Struct, frozen=True):
    """What a file name says. `opened` is UTC; `suffix` is empty while the segment is open (or its writer died), then `.gz`.

    `key_id`: an Observer's; empty where the name doesn't say it: it was written before names did.
    """

    kind: SegmentKind
    opened: str
    key_id: str
    instance: str
    seq: int
    suffix: str


def parse_segment(name: str) -> SegmentName | None:
    """Read a file name; None for a file that is no segment.

    >>> parse_segment("calls-20261121T204300-0123456789abcdef-web-0-a1b2c3-000007.jsonl.gz").instance
    'web-0-a1b2c3'
    """
    found = _NAME.match(name)
    if found is None:
        return None
    kind, opened, key_id, instance, seq, suffix = found.groups()
    return SegmentName(SegmentKind(kind), opened, key_id or "", instance, int(seq), suffix or "")


def to_file_name(name: SegmentName) -> str:
    """Write a file name; `parse_segment` reads it back."""
    key_id = f"{name.key_id}-" if name.key_id else ""
    return f"{name.kind}-{name.opened}-{key_id}{name.instance}-{name.seq:06d}.jsonl{name.suffix}"


def default_instance() -> str:
    """Name this process so that no other, not even the next one in the same container, writes under the same name."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:48] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


def lock_segment(fd: int) -> bool:
    """Take a segment for this process; False: its writer lives. The lock falls when the process ends, however it ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0
