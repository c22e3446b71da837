"""How the values of settings are read: a text to a value, or ValueError. What was expected is said in words beside it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from authz_server.histories.history_url import is_history_url

__all__ = [
    "FILE",
    "PLACE",
    "Reader",
    "address",
    "count",
    "history",
    "key",
    "listen",
    "log_target",
    "names",
    "number",
    "one_of",
    "optional",
    "size",
]

_SIZES: Final = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}

_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]{2,64}\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})\Z")


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of setting is read: what is `expected`, in words, and `read`, which raises ValueError for anything else."""

    expected: str
    read: Callable[[str], Any]
    secret: bool = False


def address(text: str) -> str:
    """Read HOST:PORT or [IPv6]:PORT."""
    found = _HOST_PORT.match(text)
    if not found or int(found[1]) > 65535:
        raise ValueError
    return text


def listen(text: str) -> str:
    """Read an address or `unix:PATH`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # sun_path holds 108 bytes with the terminating zero (unix(7)); gRPC fails late and unclearly on more.
        if not path or len(path.removeprefix("//").encode()) > 107:
            raise ValueError
        return text
    return address(text)


def optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a reader for which the empty text is None."""
    return lambda text: read(text) if text else None


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError
    return path


def _directory_or_url(text: str) -> str:
    if "://" not in text and Path(text).exists() and not Path(text).is_dir():
        raise ValueError
    return text


def log_target(text: str) -> str:
    """Read a file to write, or `-`."""
    if text != "-" and Path(text).is_dir():
        raise ValueError
    return text


def key(text: str) -> str:
    """Read a secret: the white space around it that a Secret made with `echo` has would be part of it."""
    if text != text.strip():
        raise ValueError
    return text


def names(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    found = [name.strip() for name in text.split(",")]
    if any(re.search(r"\s", name) for name in found):
        raise ValueError
    return tuple(dict.fromkeys([name for name in found if name]))


def history(text: str) -> str:
    """Read `memory` or the URL of a Redis; a password's special characters must be percent-encoded."""
    if text != "memory" and not is_history_url(text):
        raise ValueError
    return text


def one_of(*words: str) -> Callable[[str], str]:
    """Make a reader of one of `words`."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """Make a reader of a number from `low` to `high`."""

    def read(text: str) -> float:
        found = float(text)
        if not low <= found <= high:
            raise ValueError
        return found

    return read


def count(low: int, high: int) -> Callable[[str], int]:
    """Make a reader of a whole number from `low` to `high`."""
    return lambda text: int(number(low, high)(str(int(text))))


def size(low: int, high: int) -> Callable[[str], int]:
    """Make a reader of a number of bytes, with or without unit."""

    def read(text: str) -> int:
        found = re.fullmatch(r"([0-9]{1,16})\s*([KMGT]iB)?", text, re.IGNORECASE)
        if not found:
            raise ValueError
        bytes_ = int(found[1]) * _SIZES[(found[2] or "").upper()]
        if not low <= bytes_ <= high:
            raise ValueError
        return bytes_

    return read


FILE: Final = Reader("the path of a file that exists", optional(_file))
PLACE: Final = Reader("a directory, a URL like s3://bucket/prefix, or nothing", optional(_directory_or_url))
