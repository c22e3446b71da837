"""How documents are written: the choice that the command line offers, apart so that it needs no YAML library."""

from enum import StrEnum

__all__ = ["Form"]


class Form(StrEnum):
    """A way to write a document; its value is the file's suffix."""

    YAML = "yaml"
    JSON = "json"
