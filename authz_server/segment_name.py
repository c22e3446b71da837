"""The file name of a segment, and the lock that says whether its writer still lives. Writer, finisher and reader agree here.

`calls-<UTC yyyymmddThhmmss>-<instance>-<seq>.jsonl` while it is written, `.jsonl.gz` when it is finished.
"""

import fcntl
import os
import re
import secrets
import socket
from enum import StrEnum

import msgspec

__all__ = ["SegmentKind", "SegmentName", "default_instance", "lock_segment", "parse_segment"]

_NAME = re.compile(r"(calls|outcomes)-([0-9]{8}T[0-9]{6})-(.{1,128})-([0-9]{1,12})\.jsonl(\.gz|\.zst)?\Z")


class SegmentKind(StrEnum):
    """What the lines of a segment are."""

    CALLS = "calls"
    OUTCOMES = "outcomes"


class SegmentName(msgspec.Struct, frozen=True):
    """What a file name says. `opened` is UTC; `suffix` is empty while the segment is open (or its writer died), then `.gz`."""

    kind: SegmentKind
    opened: str
    instance: str
    seq: int
    suffix: str


def parse_segment(name: str) -> SegmentName | None:
    """Read a file name; None for a file that is no segment.

    >>> parse_segment("calls-20261121T204300-web-0-a1b2c3-000007.jsonl.gz").instance
    'web-0-a1b2c3'
    """
    found = _NAME.match(name)
    if found is None:
        return None
    kind, opened, instance, seq, suffix = found.groups()
    return SegmentName(SegmentKind(kind), opened, instance, int(seq), suffix or "")


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
