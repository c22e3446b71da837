"""GraphQL executable documents (specification of October 2021, sections 2.1 to 2.10, appendix B): from text to selections.

Bounded in words, nesting and characters; raises Malformed or TooMany, nothing else. Type definitions, which no request needs,
are no document. About 2 microseconds a word.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from authz_server.engine.bodies.leaf import pointer_part
from authz_server.engine.call import Kind

__all__ = ["MAX_CHARACTERS", "MAX_NESTING", "MAX_WORDS", "Document", "Literal", "Malformed", "Operation", "Selection", "TooMany"]

MAX_WORDS: Final = 2048
"""Lexical tokens of one document that are read."""
MAX_CHARACTERS: Final = 1 << 17
"""Characters of one document that are read."""
_MAX_MATCHES: Final = 4 * MAX_WORDS
"""Words, white space and comments."""
MAX_NESTING: Final = 32
"""Selection sets, or lists and objects in a value, inside one another."""

_WORD = re.compile(
    r"[\s,\ufeff]++|#[^\n\r]*+"
    r"|(\.\.\.|[!$&()\[\]{}:=|@])"
    r"|([_A-Za-z][_0-9A-Za-z]*+)"
    r"|(-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
    r'|("""(?:\\"""|[^"]|"(?!""))*+"""|"(?!"")(?:[^"\\\n\r]|\\.)*+")'
)
_MARK, _NAME, _NUMBER, _STRING = 1, 2, 3, 4
_OPERATIONS: Final = frozenset({"query", "mutation", "subscription"})
_MAX_DIGITS: Final = 32
_END: Final = (0, "")

Literal = str | int | float | bool | Kind | None


class Malformed(Exception):  # noqa: N818  # the callers' flow, no error of theirs
    """The text is no document."""


class TooMany(Exception):  # noqa: N818  # the callers' flow, no error of theirs
    """The document exceeds a bound."""


class Selection(msgspec.Struct, gc=False):
    """A field, or (`name` empty) an inline fragment, or (`spread`) a named fragment's place."""

    name: str = ""
    spread: str = ""
    aliased: bool = False
    directives: int = 0
    arguments: Sequence[tuple[str, Literal]] = ()
    inner: Sequence["Selection"] = ()


class Operation(msgspec.Struct, gc=False):
    """One operation: `query`, `mutation` or `subscription`, its name (empty: anonymous), its directives and selections."""

    kind: str
    name: str
    directives: int
    selections: Sequence[Selection]


class Document:
    """Recursive descent over the words of one document, after appendix B of the specification."""

    def __init__(self, text: str) -> None:
        self._words = _words(text)
        self._at = 0
        self.operations: list[Operation] = []
        self.fragments: dict[str, Sequence[Selection]] = {}
        while self._peek() != _END:
            self._definition()
        if not self.operations:
            raise Malformed

    def _peek(self) -> tuple[int, str]:
        return self._words[self._at] if self._at < len(self._words) else _END

    def _take(self, kind: int, text: str = "") -> str:
        found = self._peek()
        if found[0] != kind or (text and found[1] != text):
            raise Malformed
        self._at += 1
        return found[1]

    def _skip(self, mark: str) -> bool:
        if self._peek() == (_MARK, mark):
            self._at += 1
            return True
        return False

    def _definition(self) -> None:
        if self._peek() == (_MARK, "{"):
            self.operations.append(Operation("query", "", 0, self._selections(1)))
            return
        word = self._take(_NAME)
        if word == "fragment":
            name = self._take(_NAME)
            self._take(_NAME, "on")
            self._take(_NAME)
            self._directives()
            self.fragments.setdefault(name, self._selections(1))
        elif word in _OPERATIONS:
            name = self._take(_NAME) if self._peek()[0] == _NAME else ""
            if self._skip("("):
                self._variables()
            directives = self._directives()
            self.operations.append(Operation(word, name, directives, self._selections(1)))
        else:
            raise Malformed

    def _variables(self) -> None:
        while not self._skip(")"):
            self._take(_MARK, "$")
            self._take(_NAME)
            self._take(_MARK, ":")
            brackets = 0
            while self._skip("["):
                brackets += 1
            self._take(_NAME)
            self._skip("!")
            for _ in range(brackets):
                self._take(_MARK, "]")
                self._skip("!")
            if self._skip("="):
                for _ in self._value("", 0):
                    pass
            self._directives()

    def _directives(self) -> int:
        count = 0
        while self._skip("@"):
            self._take(_NAME)
            self._arguments()
            count += 1
        return count

    def _arguments(self) -> list[tuple[str, Literal]]:
        found: list[tuple[str, Literal]] = []
        if self._skip("("):
            while not self._skip(")"):
                name = self._take(_NAME)
                self._take(_MARK, ":")
                found += self._value("/" + pointer_part(name), 0)
        return found

    def _selections(self, depth: int) -> list[Selection]:
        if depth > MAX_NESTING:
            raise TooMany
        self._take(_MARK, "{")
        found = []
        while not self._skip("}"):
            found.append(self._fragment(depth) if self._skip("...") else self._field(depth))
        return found

    def _fragment(self, depth: int) -> Selection:
        kind, word = self._peek()
        if kind == _NAME and word != "on":
            self._at += 1
            return Selection(spread=word, directives=self._directives())
        if kind == _NAME:
            self._at += 1
            self._take(_NAME)
        return Selection(directives=self._directives(), inner=self._selections(depth + 1))

    def _field(self, depth: int) -> Selection:
        name = self._take(_NAME)
        aliased = self._skip(":")
        if aliased:
            name = self._take(_NAME)
        arguments = self._arguments()
        directives = self._directives()
        inner = self._selections(depth + 1) if self._peek() == (_MARK, "{") else ()
        return Selection(name, "", aliased, directives, arguments, inner)

    def _value(self, name: str, depth: int) -> Iterator[tuple[str, Literal]]:
        """Read a value into its literals, named below `name` as in JSON."""
        if depth > MAX_NESTING:
            raise TooMany
        kind, word = self._peek()
        self._at += 1
        if kind == _STRING:
            yield name, _unquoted(word)
        elif kind == _NUMBER:
            yield name, _number(word)
        elif kind == _NAME:
            yield name, _WORDS.get(word, word)
        elif word == "$":
            yield name, "$" + self._take(_NAME)
        elif word == "[":
            if self._peek() == (_MARK, "]"):
                yield name, Kind.ARRAY
            while not self._skip("]"):
                yield from self._value(name + "/*", depth + 1)
        elif word == "{":
            if self._peek() == (_MARK, "}"):
                yield name, Kind.OBJECT
            while not self._skip("}"):
                key = self._take(_NAME)
                self._take(_MARK, ":")
                yield from self._value(f"{name}/{pointer_part(key)}", depth + 1)
        else:
            raise Malformed


_WORDS: Final[dict[str, Literal]] = {"true": True, "false": False, "null": None}


def _words(text: str) -> list[tuple[int, str]]:
    """Split into lexical tokens, without what is ignored (2.1.7: white space, commas, comments)."""
    words: list[tuple[int, str]] = []
    at, match = 0, _WORD.match
    if len(text) > MAX_CHARACTERS:
        raise TooMany
    for _ in range(_MAX_MATCHES):
        if at >= len(text):
            return words
        found = match(text, at)
        if found is None:
            raise Malformed
        at = found.end()
        if found.lastindex:
            if len(words) >= MAX_WORDS:
                raise TooMany
            words.append((found.lastindex, found[found.lastindex]))
    raise TooMany


def _unquoted(word: str) -> str:
    """Take the quotes off; escapes stay as they are written, except in what JSON reads alike."""
    if word.startswith('"""'):
        return word[3:-3].strip()
    if "\\" in word:
        try:
            decoded = msgspec.json.decode(word, type=str)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return word[1:-1]
        return decoded
    return word[1:-1]


def _number(word: str) -> int | float:
    if len(word) <= _MAX_DIGITS and word.removeprefix("-").isdigit():
        return int(word)
    return float(word)
