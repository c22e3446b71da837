"""From files of any known format to records, and from there to a store.

`iter_records` is what `import` and `evaluate --calls` share: labelled calls are judged exactly as they would be after an import.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from authz_server.engine.errors import FormatError
from authz_server.engine.observe import Observer
from authz_server.engine.policy import DEFAULT_SESSION
from authz_server.engine.record import CallRecord
from trainer.importers import calls, checkrequests, envoy_json, har
from trainer.importers.imported import ImportedCall, Sources, to_record
from trainer.lines import Readable, open_input
from trainer.store_writer import StoreWriter

__all__ = ["Format", "Imports", "import_files", "iter_calls_file", "iter_imported", "iter_records"]

_SHOWN_PROBLEMS: Final = 20
_REPORT_EVERY: Final = 1000


class Format(StrEnum):
    """What the files are."""

    CALLS = "calls"
    CHECKREQUESTS = "checkrequests"
    HAR = "har"
    ENVOY_JSON = "envoy-json"


_Importer = Callable[[Readable, str], Iterator[ImportedCall | FormatError]]
_IMPORTERS: Final[dict[Format, _Importer]] = {
    Format.CALLS: calls.iter_imported,
    Format.CHECKREQUESTS: checkrequests.iter_imported,
    Format.HAR: har.iter_imported,
    Format.ENVOY_JSON: envoy_json.iter_imported,
}


class Imports(msgspec.Struct):
    """How far an import is: bytes `read` of the files as stored, calls `written`, bad lines `skipped` and the first of them."""

    read: int = 0
    written: int = 0
    skipped: int = 0
    problems: list[str] = []

    def skip(self, error: FormatError) -> None:
        """Count a bad line."""
        self.skipped += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(str(error))


def iter_calls_file(path: str, observer: Observer, sources: Sources = DEFAULT_SESSION) -> Iterator[CallRecord]:
    """Read a `calls` file (`.gz`, `.zst`, a URL, `-`) without a store; raises FormatError at the first bad line."""
    return iter_records(path, Format.CALLS, observer, sources)


def iter_imported(path: str, file_format: Format) -> Iterator[ImportedCall | FormatError]:
    """Read one file in clear; a bad line comes as the FormatError that says what is wrong with it."""
    with open_input(path) as (_, stream):
        yield from _IMPORTERS[file_format](stream, path)


def iter_records(
    path: str,
    file_format: Format,
    observer: Observer,
    sources: Sources = DEFAULT_SESSION,
    *,
    skip: Callable[[FormatError], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[CallRecord]:
    """Read one file as records. Ids are made of the path and the line, so two readings agree.

    `skip` is told of bad lines, None: the first one is raised. `progress` is told how many bytes were read since last time.
    """
    prefix = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    told = 0
    with open_input(path) as (file, stream):
        for n, imported in enumerate(_IMPORTERS[file_format](stream, path), 1):
            if progress is not None and n % _REPORT_EVERY == 0:
                at = _position(file)
                progress(at - told)
                told = at
            if isinstance(imported, FormatError):
                if skip is None:
                    raise imported
                skip(imported)
            else:
                yield to_record(imported, observer, sources, f"{prefix}-{imported.number:x}")
        if progress is not None:
            progress(_position(file) - told)


def _position(file: object) -> int:
    try:
        return int(file.tell())  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return 0  # a pipe


def import_files(
    paths: Sequence[str],
    file_format: Format,
    store: str,
    observer: Observer,
    sources: Sources = DEFAULT_SESSION,
    imports: Imports | None = None,
    *,
    skip_bad: bool = False,
    spool: str | None = None,
    progress: Callable[[Imports], None] | None = None,
) -> Imports:
    """Import files in turn into `store`, counting in `imports`. Raises FormatError at the first bad line, unless `skip_bad`.

    What came before it, or before whatever else ends an import, is in the store then, whole, and the error says how much that is.
    """
    imports = imports or Imports()

    def advance(read: int) -> None:
        imports.read += read
        if progress is not None:
            progress(imports)

    with StoreWriter(store, observer.key_id, spool=spool) as writer:
        try:
            for path in paths:
                records = iter_records(
                    path, file_format, observer, sources, skip=imports.skip if skip_bad else None, progress=advance
                )
                for record in records:
                    writer.put(record)
                    imports.written += 1
        except FormatError as error:
            raise FormatError(*error.problems, f"{imports.written:,} calls before it were imported") from error
    return imports
