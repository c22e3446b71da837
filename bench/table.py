"""One plain table for people, one JSON file for programs; and the quantiles that both use."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

__all__ = ["OUT", "Row", "median", "quantile", "spread", "table", "write_json", "yes"]

OUT: Final = Path(__file__).resolve().parent / "out"

Row = Sequence[object]


def table(title: str, header: Sequence[str], rows: Sequence[Row]) -> str:
    """Lay out a table: the first column to the left, the others to the right, two spaces in between.

    >>> print(table("t", ("name", "n"), [("a", 10), ("bb", 2)]))
    t
    name   n
    a     10
    bb     2
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in cells
    ]
    return "\n".join([title, *lines])


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that `share` of the values are at or below; `values` needn't be sorted, but there must be some."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """Give the middle value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Tell the median with the least and the greatest.

    >>> spread([1.0, 3.0, 2.0])
    '2.00 (1.00-3.00)'
    """
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def yes(held: bool) -> str:  # noqa: FBT001
    """Say whether a target is reached."""
    return "yes" if held else "NO"


def write_json(name: str, results: dict[str, Any]) -> Path:
    """Write results to bench/out/NAME.json, with the machine they were measured on."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    machine = {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }
    document = {"measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine, **results}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path
