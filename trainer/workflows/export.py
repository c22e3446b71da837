"""The command `trainer workflows`: from a bundle to one file a workload, or everything on standard output."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from authz_server.bundle import load_bundle
from authz_server.engine.errors import BundleError, SettingError, cut
from trainer.known_names import known_names
from trainer.workflows.dot import to_dot
from trainer.workflows.graph import Graph, to_graph, to_journeys
from trainer.workflows.mermaid import to_mermaid

__all__ = ["Form", "render", "write"]


class Form(StrEnum):
    """How workflows are written."""

    MERMAID = "mermaid"
    DOT = "dot"
    JSON = "json"


def _to_json(graph: Graph) -> str:
    found = {**msgspec.to_builtins(graph), "journeys": msgspec.to_builtins(to_journeys(graph))}
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


_WRITERS: Final[dict[Form, tuple[str, Callable[[Graph], str]]]] = {
    Form.MERMAID: ("md", to_mermaid),
    Form.DOT: ("dot", to_dot),
    Form.JSON: ("json", _to_json),
}


def render(bundle: str, form: Form, workload: str | None = None) -> dict[str, str]:
    """Render all workloads, or one, by file name; raises SettingError for one that there is not, BundleError without a bundle."""
    models = load_bundle(bundle, None).models
    if not models:
        raise BundleError(f"{bundle}: expected a bundle published by `trainer train`, found none")
    if workload is not None and workload not in models:
        raise SettingError(f"workload: expected one of {known_names(workload, models)}, got {cut(workload)!r}")
    ending, text = _WRITERS[form]
    chosen = [workload] if workload is not None else sorted(models)
    return {f"{name.replace('/', '.')}.{ending}": text(to_graph(models[name].model)) for name in chosen}


def write(files: Mapping[str, str], out: Path) -> None:
    """Write the files; raises SettingError where that is impossible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"out: expected a directory that can be written, got {str(out)!r:.100}: {error.strerror}") from error
