"""application/x-www-form-urlencoded (WHATWG URL, 5): named texts, at most `target.MAX_PAIRS`."""

from authz_server.engine.bodies.leaf import Leaf
from authz_server.engine.call import Flag
from authz_server.engine.observe import MAX_CUT_NAME, bounded_name
from authz_server.engine.target import split_pairs

__all__ = ["to_leaves"]


def to_leaves(data: bytes, flags: set[Flag]) -> list[Leaf]:
    """Read a form; its values are typed by their own form."""
    text = data.decode("utf-8", "surrogateescape")
    leaves: list[Leaf] = []
    for name, value, extra in split_pairs(text, "&", flags):
        leaves.append((bounded_name(name if len(name) < MAX_CUT_NAME else name[:MAX_CUT_NAME]), value, extra, False))
    return leaves
