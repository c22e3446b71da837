"""The import contracts name every module that they are about: a new one isn't left out."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def contract(name: str) -> Any:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (found,) = [one for one in project["tool"]["importlinter"]["contracts"] if one["name"].startswith(name)]
    return found


def modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).iterdir() if path.stem[0] != "_" and (path.suffix == ".py" or path.is_dir())}


def test_the_engine_may_import_none_of_the_server_s_modules() -> None:
    forbidden = {name.partition(".")[2] for name in contract("The engine is pure")["forbidden_modules"] if "." in name}

    assert modules("authz_server") - {"engine"} == forbidden


def test_every_module_of_the_engine_has_its_layer() -> None:
    layered = {name.strip() for layer in contract("The engine reads downwards")["layers"] for name in layer.split("|")}

    assert modules("authz_server/engine") == layered
