"""How the id of a hash key reads in errors and notes: two keys can be told apart by it, and none can be told from it."""

from typing import Final

from authz_server.engine.errors import cut
from authz_server.engine.observe import Observer

__all__ = ["show_key_id"]

_NO_KEY: Final = Observer().key_id


def show_key_id(key_id: str) -> str:
    """Show a key's id; the id that stands for no key says so, since a variable that wasn't set is the usual mistake.

    >>> show_key_id("0123456789abcdef")
    'key id 0123456789abcdef'
    """
    return f"key id {cut(key_id)}{', which is no key at all' if key_id == _NO_KEY else ''}"
