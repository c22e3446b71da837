"""The conditions under which a dry run may end, by name: what `--waive` takes and the audit log names.

What each asks is in `gate.py`.
"""

from enum import StrEnum

__all__ = ["Condition"]


class Condition(StrEnum):
    """What must hold."""

    EVIDENCE = "evidence"
    PUSHED = "pushed"
    REPLAY = "replay"
    DRY_RUN = "dry-run"
