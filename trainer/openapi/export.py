"""The command `trainer openapi`: from a bundle's place to documents, and to reports on what differs from others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from authz_server.bundle import Bundle, load_bundle, read_description
from authz_server.engine.errors import BundleError, FormatError, SettingError, cut
from authz_server.engine.observe import MAX_DIGESTED, Observer
from authz_server.key_id import show_key_id
from authz_server.place import open_place
from trainer.description import decode_description
from trainer.known_names import known_names
from trainer.openapi.against import Disagreement, disagreements
from trainer.openapi.contract import Contract, to_contract
from trainer.openapi.diff import Change, changes
from trainer.openapi.document import to_document
from trainer.openapi.form import Form
from trainer.openapi.text import to_text
from trainer.openapi.words import names_of, read_words, to_vocabulary

__all__ = ["Export", "compare", "diff", "read_document", "read_documents", "write_documents"]

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_MAX_BYTES: Final = 32 * 2**20


class Export:
    """The documents of a bundle in force, by workload; `workload` None: all."""

    def __init__(
        self, place: str, observer: Observer, workload: str | None = None, words: Path | None = None, spec: Contract | None = None
    ) -> None:
        """Make them; raises BundleError, or SettingError where there is no such workload.

        `words`, and the values that `spec` lists: what may be among an enumeration's values.
        """
        self.bundle = load_bundle(place, None, [workload] if workload else [])
        if not self.bundle.revision:
            raise BundleError(f"{place}: expected a bundle, got none: run `trainer train` first")
        if workload and not self.bundle.models:
            raise SettingError(f"workload: expected one of {_names(self.bundle, workload)}, got {cut(workload)!r}")
        self.same_key = self.bundle.manifest is not None and self.bundle.manifest.key_id == observer.key_id
        """Whether enumerations could be read: only with the key under which the bundle was learned."""
        theirs = self.bundle.manifest.key_id if self.bundle.manifest is not None else ""
        self.keys = f"{show_key_id(theirs)}; ours: {show_key_id(observer.key_id)}"
        models = [ready.model for ready in self.bundle.models.values()]
        listed = [*names_of(models), *(read_words(words) if words is not None else ())]
        vocabulary = to_vocabulary(observer, listed, _values(spec) if spec is not None else ()) if self.same_key else {}
        self.documents: dict[str, dict[str, Any]] = {}
        for model in models:
            data = read_description(place, self.bundle, model.workload)
            description = decode_description(data) if data is not None else None
            self.documents[model.workload] = to_document(model, description, self.bundle.revision, vocabulary)


def _names(bundle: Bundle, asked: str = "") -> str:
    return known_names(asked, bundle.manifest.workloads if bundle.manifest is not None else ())


def _values(spec: Contract) -> Iterator[str]:
    for operation in spec.endpoints.values():
        for field in operation.fields.values():
            yield from (value for value in field.enum or () if len(value) <= MAX_DIGESTED)


def write_documents(export: Export, out: str, form: Form) -> list[str]:
    """Write one file a workload; return their names. `out`: a directory or fsspec URL."""
    place = open_place(out)
    names = []
    for workload, document in sorted(export.documents.items()):
        assert export.bundle.manifest is not None
        stem = export.bundle.manifest.workloads[workload].file.rpartition("/")[2].removesuffix(".json")
        names.append(f"{stem}.{form.value}")
        place.write(names[-1], to_text(document, form))
    return names


def diff(export: Export, old: Path) -> list[Change]:
    """Compare with earlier documents of ours, a file or a directory; with one file, its workload alone."""
    before = {contract.title: contract for contract in read_documents(old)}
    after = {workload: to_contract(document) for workload, document in export.documents.items()}
    if old.is_file():
        after = {workload: contract for workload, contract in after.items() if workload in before}
    return changes(before, after)


def compare(export: Export, spec: Contract) -> list[Disagreement]:
    """Compare with a document of the user's; raises SettingError where it isn't clear of which workload it is."""
    if len(export.documents) != 1:
        raise SettingError(f"workload: expected the one that the document is of, one of {_names(export.bundle)}")
    (document,) = export.documents.values()
    return disagreements(to_contract(document), spec)


def read_documents(place: Path) -> list[Contract]:
    """Read a document, or all of a directory; raises FormatError."""
    files = sorted(path for path in place.iterdir() if path.suffix in _SUFFIXES) if place.is_dir() else [place]
    if not files:
        raise FormatError(f"{place}: expected OpenAPI documents, .yaml or .json, found none")
    return [read_document(file) for file in files]


def read_document(file: Path) -> Contract:
    """Read an OpenAPI 3.0, 3.1 or Swagger 2 document, YAML or JSON; raises FormatError."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise FormatError(f"{file}: expected at most {_MAX_BYTES:,} bytes")
        data = file.read_bytes()
        document = msgspec.json.decode(data) if data.lstrip()[:1] == b"{" else yaml.load(data, Loader=_Loader)  # noqa: S506
    except (OSError, msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{file}: expected an OpenAPI document, YAML or JSON: {cut(' '.join(str(error).split()))}") from error
    if not isinstance(document, dict) or not ("openapi" in document or "swagger" in document):
        raise FormatError(f"{file}: expected an OpenAPI document, got no `openapi` or `swagger` in it")
    return to_contract(document)


class _Loader(yaml.SafeLoader):
    """Safe, and dates stay texts: an enumeration may list some."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
