"""A small, strict reading of YAML: bytes to dicts, lists and scalars, or every problem with its path and line.

YAML 1.1 as PyYAML's `safe_load` reads it makes traps of a configuration: `off` is false, `1e-4` a text, a repeated key silently
wins, and deep nesting ends the process (ran 2026-11: CSafeLoader crashes on `[` x 100,000). So the events are read here: `true`
and `false` alone are booleans, numbers are JSON's, keys are texts and never repeated, there are no anchors, tags or second
documents.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from authz_server.engine.errors import cut

__all__ = ["MAX_DEPTH", "MAX_NODES", "parse_yaml"]

MAX_DEPTH: Final = 12
MAX_NODES: Final = 200_000

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?\Z")
_WORDS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}


class _UnreadableError(Exception):
    """Reading can't go on."""


def parse_yaml(data: bytes) -> tuple[Any, list[str]]:
    """Read one document; return its value (None where there is none) and the problems; with a problem it isn't to be used."""
    import yaml  # 30 ms

    problems: list[str] = []
    try:
        text = data.decode()
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _Reading(events, problems).document(), problems
    except UnicodeDecodeError as error:
        problems.append(f"expected UTF-8, got something else at byte {error.start}")
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problems.append(f"{line}expected YAML: {cut(error.problem or error.context)}")
    except yaml.YAMLError as error:
        problems.append(f"expected YAML: {cut(error)}")
    except _UnreadableError as error:
        problems.append(str(error))
    return None, problems


class _Reading:
    """One pass over the events of a document."""

    def __init__(self, events: Iterator[Any], problems: list[str]) -> None:
        self._events = events
        self._problems = problems
        self._nodes = 0

    def document(self) -> Any:
        """Read the stream's only document."""
        value = None
        documents = 0
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise _UnreadableError(f"line {event.start_mark.line + 1}: expected one document, got a second one")
                value = self._node(next(self._events), "", 0)
        return value

    def _node(self, event: Any, path: str, depth: int) -> Any:
        self._nodes += 1
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _UnreadableError(f"line {line}: expected at most {MAX_DEPTH} levels and {MAX_NODES:,} nodes")
        if event.anchor is not None:
            raise _UnreadableError(f"line {line}: expected no anchors or aliases, got {cut(event.anchor)!r}")
        if event.tag is not None and event.tag != "!":
            self._problems.append(f"{path or 'the document'}: line {line}: expected no tag, got {cut(event.tag)}")
        kind = type(event).__name__
        if kind == "MappingStartEvent":
            return self._mapping(path, depth)
        if kind == "SequenceStartEvent":
            return self._sequence(path, depth)
        return _scalar(event.value) if event.implicit[0] else event.value

    def _mapping(self, path: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            line = event.start_mark.line + 1
            if type(event).__name__ != "ScalarEvent":
                raise _UnreadableError(f"{path or 'the document'}: line {line}: expected a text as key")
            key = event.value
            below = f"{path}.{cut(key)}" if path else cut(key)
            if key in mapping:
                self._problems.append(f"{below}: line {line}: expected each key once, got it again")
            mapping[key] = self._node(next(self._events), below, depth + 1)
        return mapping

    def _sequence(self, path: str, depth: int) -> list[Any]:
        sequence: list[Any] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            sequence.append(self._node(event, f"{path}[{len(sequence)}]", depth + 1))
        return sequence


def _scalar(text: str) -> str | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else text
