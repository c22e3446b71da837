"""Policies as YAML: objects to text that kubectl reads as it was meant, and files to objects, read strictly.

Every value is quoted, and every key that isn't plainly a word: YAML 1.1 and 1.2, PyYAML and kubectl disagree on which of `1e3`,
`08`, `y`, `n`, `null` and `0o7` are texts. A file may hold several documents.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from authz_server.engine.errors import PolicyError, cut
from authz_server.strict_yaml import parse_yaml
from trainer.policies.policy import AuthorizationPolicy, from_object

__all__ = ["Document", "as_policies", "parse_documents", "read_documents", "read_policies", "to_text"]

_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_MAX_BYTES: Final = 4 * 2**20
_MAX_DOCUMENTS: Final = 1000
_WIDTH: Final = 1_000_000
"""Columns of a line: never fold, so that one changed path is one changed line."""

_BOUNDARY = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
"""YAML 1.2, 9.1.2: at the start of a line it ends a document wherever it stands, in texts too."""
_KEY = re.compile(r"[A-Za-z][A-Za-z./-]+\Z")
_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off"})


class Document(msgspec.Struct, frozen=True):
    """One Kubernetes object of a file; `place` says which, for people: file, document, kind, namespace and name."""

    place: str
    object: dict[str, Any]


class _Quoted(str):
    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Safe, and every text is quoted unless it is a key that reads as a word."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML asks
        """Write what occurs twice twice: anchors are refused where it is read."""
        return True


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'))


def to_text(objects: Iterable[Mapping[str, Any]], header: str = "") -> str:
    """Write objects as one YAML file; `header` comes first, as comments.

    >>> print(to_text([{"metadata": {"name": "1e3", "y": "on"}}]), end="")
    metadata:
      name: "1e3"
      "y": "on"
    """
    comment = "".join([f"# {line}".rstrip() + "\n" for line in header.splitlines()])
    texts = [
        yaml.dump(_quoted(one), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False)
        for one in objects
    ]
    return comment + "---\n".join(texts)


def _quoted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key if _is_word(key) else _Quoted(key): _quoted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(one) for one in value]
    return _Quoted(value) if isinstance(value, str) else value


def _is_word(key: str) -> bool:
    return _KEY.match(key) is not None and key.lower() not in _WORDS


def parse_documents(data: bytes, place: str) -> list[Document]:
    """Read all objects of a file, those of a List too; raises PolicyError with every problem.

    Documents without `kind` that have a `version` are ours (`enforcement.yaml`, `exceptions.yaml`) and passed over.
    """
    if len(data) > _MAX_BYTES:
        raise PolicyError(f"{place}: expected at most {_MAX_BYTES:,} bytes, got {len(data):,}")
    documents: list[Document] = []
    problems: list[str] = []
    for number, part in enumerate(_split(data), 1):
        if number > _MAX_DOCUMENTS:
            raise PolicyError(f"{place}: expected at most {_MAX_DOCUMENTS:,} documents")
        value, unreadable = parse_yaml(part)
        here = place if number == 1 else f"{place}, document {number}"
        if unreadable:
            problems += [f"{here}: {problem}" for problem in unreadable]
        elif isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
            documents += _objects(value["items"], f"{here}, items", problems)
        elif value is not None and not (isinstance(value, dict) and "kind" not in value and "version" in value):
            documents += _objects([value], here, problems)
    if problems:
        raise PolicyError(*problems)
    return documents


def _objects(values: list[Any], place: str, problems: list[str]) -> Iterator[Document]:
    for number, value in enumerate(values):
        here = place if len(values) == 1 else f"{place}[{number}]"
        if isinstance(value, dict) and isinstance(value.get("kind"), str):
            yield Document(here + _named(value), value)
        else:
            problems.append(f"{here}: expected a Kubernetes object with a `kind`, got {cut(value)!r}")


def _named(thing: dict[str, Any]) -> str:
    """Name an object as far as it says its name."""
    metadata = thing.get("metadata")
    names = [metadata.get(part) for part in ("namespace", "name")] if isinstance(metadata, dict) else []
    name = "/".join([one for one in names if isinstance(one, str)])
    return f" ({cut(thing['kind'])} {cut(name)})" if name else ""


def _split(data: bytes) -> Iterator[bytes]:
    """Cut a stream into documents, each with as many lines before it as it had: its problems name lines of the file."""
    text = data.decode("utf-8", "surrogateescape")
    start = 0
    for mark in [*_BOUNDARY.finditer(text), None]:
        end = mark.start() if mark is not None else len(text)
        yield ("\n" * text.count("\n", 0, start) + text[start:end]).encode("utf-8", "surrogateescape")
        start = mark.end() if mark is not None else end


def read_documents(place: Path) -> list[Document]:
    """Read all objects of a file, or of the YAML files of a directory (not of those below); raises PolicyError."""
    try:
        files = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES) if place.is_dir() else [place]
    except OSError as error:
        raise PolicyError(f"{place}: expected a readable directory: {error.strerror}") from error
    documents: list[Document] = []
    problems: list[str] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                documents += parse_documents(opened.read(_MAX_BYTES + 1), str(file))
        except OSError as error:
            problems.append(f"{file}: expected a readable file: {error.strerror}")
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(*problems)
    return documents


def read_policies(place: Path) -> list[Document]:
    """Read the AuthorizationPolicies of a file or directory as they stand there; other kinds are passed over."""
    return [one for one in read_documents(place) if one.object["kind"] == "AuthorizationPolicy"]


def as_policies(documents: Iterable[Document]) -> list[AuthorizationPolicy]:
    """Take documents for AuthorizationPolicies; raises PolicyError with every one that isn't, by file and name."""
    policies: list[AuthorizationPolicy] = []
    problems: list[str] = []
    for document in documents:
        try:
            policies.append(from_object(document.object))
        except PolicyError as error:
            problems += [f"{document.place}: {problem}" for problem in error.problems]
    if problems:
        raise PolicyError(*problems)
    return policies
