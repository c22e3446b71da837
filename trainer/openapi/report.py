"""What differs, as text for a person or JSON for a program."""

from pathlib import Path

import msgspec

from trainer.openapi import against, diff
from trainer.openapi.contract import Contract
from trainer.openapi.export import Export, compare
from trainer.openapi.export import diff as diff_with

__all__ = ["to_report"]


def to_report(export: Export, old: Path | None, spec: Contract | None, *, as_json: bool) -> tuple[str, int]:
    """Compare with earlier documents, the user's document, or both; return the report and how many things it names."""
    lines: list[str] = []
    told: dict[str, object] = {"revision": export.bundle.revision}
    count = 0
    if old is not None:
        changes = diff_with(export, old)
        lines += diff.to_lines(changes)
        told["diff"] = changes
        count += len(changes)
    if spec is not None:
        found = compare(export, spec)
        lines += against.to_lines(found, spec.notes)
        told |= {"against": found, "notes": spec.notes}
        count += len(found)
    return (msgspec.json.format(msgspec.json.encode(told), indent=1).decode() if as_json else "\n".join(lines)), count
