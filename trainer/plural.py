"""Counts in words."""

__all__ = ["plural"]


def plural(count: int, what: str) -> str:
    """Write how many there are of what a regular noun names.

    >>> plural(1, "call"), plural(1200, "call")
    ('1 call', '1,200 calls')
    """
    return f"{count:,} {what}" + ("" if count == 1 else "s")
