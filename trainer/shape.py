"""Which parameters a call has: those of the endpoint itself, those that are sent everywhere alike, and how they are combined."""

from collections.abc import Iterable

__all__ = ["is_own", "to_combination"]


def is_own(key: str) -> bool:
    """Tell whether a parameter is learned with its endpoint: all but headers and cookies, which clients send everywhere alike."""
    return key[0] not in "hc" or key == "header:content-type"


def to_combination(keys: Iterable[str]) -> str:
    """Name the combination of query and body parameters, as `engine/parameters.py` does."""
    return " ".join(sorted({key for key in keys if key[0] in "qb"}))
