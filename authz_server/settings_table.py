"""Settings in words: the README's table and the texts of `--help`, from the fields of Settings and the strings under them."""

from dataclasses import fields
from itertools import pairwise
from typing import cast

from authz_server.settings import PREFIX, READERS, Settings, to_flag

__all__ = ["describe_settings", "to_markdown"]


def to_markdown() -> str:
    """Render the table of settings for the README, from the fields and the strings under them."""
    lines = ["| flag | variable | value | default | meaning |", "|---|---|---|---|---|"]
    documents = _documents()
    for field in fields(Settings):
        flag, variable = f"`{to_flag(field.name)}`", f"`{PREFIX}{field.name.upper()}`"
        expected = READERS[field.name].expected.replace("|", "\\|")
        meaning = " ".join(documents[field.name].split()).replace("|", "\\|")
        lines.append(f"| {flag} | {variable} | {expected} | {_default(field.name, field.default)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(name: str, default: object) -> str:
    if default is None or default in ("", ()):
        return ""
    if name.endswith("_bytes"):
        size = cast("int", default)
        return f"`{size // 2**20}MiB`" if size % 2**20 == 0 else f"`{size // 2**10}KiB`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _documents() -> dict[str, str]:
    """Read the string under each field from this module's source: Python keeps none at run time."""
    import ast  # only for help texts
    import inspect

    body = cast("ast.ClassDef", ast.parse(inspect.getsource(Settings)).body[0]).body
    found: dict[str, str] = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = cast("str", cast("ast.Constant", text.value).value)
    return found


def describe_settings() -> dict[str, tuple[str, str]]:
    """Map each setting to what is expected and what it means, for `--help`."""
    documents = _documents()
    return {name: (reader.expected, " ".join(documents[name].split())) for name, reader in READERS.items()}
