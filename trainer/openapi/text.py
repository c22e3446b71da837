"""From a document to text: YAML or JSON, deterministic. Strings that a YAML reader could take for something else are quoted."""

import re
from typing import Any, Final

import msgspec
import yaml

from trainer.openapi.form import Form

__all__ = ["to_text"]

_PLAIN: Final = re.compile(r"[A-Za-z_/$][A-Za-z0-9_/.$-]*(?: [A-Za-z0-9_/.-]+)*\Z")
_NOT_TEXTS: Final = frozenset("y n yes no true false on off null nan inf".split())
"""What YAML 1.1 or 1.2 readers take for a boolean, nothing or a number."""


def to_text(document: dict[str, Any], form: Form) -> bytes:
    """Write a document; members stand in the order they have."""
    if form is Form.JSON:
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    written: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return written.encode()


class _Dumper(yaml.SafeDumper):
    """Writes the same list twice rather than an alias, and texts as said above."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.match(text) and text.lower() not in _NOT_TEXTS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent)
