"""Which recorded calls may teach, which may calibrate, and whose novelties they are.

May teach: calls that ended well (2xx/3xx, or unknown), aren't labelled as attacks, belong to no test split, and weren't denied
when they were made. May calibrate: also those that ended in an error, since they too are normal calls that must not be refused.
"""

from typing import Protocol

__all__ = ["Ended", "Judged", "Sent", "calibrates", "caller_of", "succeeded", "was_refused"]


class Judged(Protocol):
    """What was said of a call."""

    @property
    def label(self) -> int | None:
        """1: known to be an attack."""

    @property
    def split(self) -> str | None:
        """`test`: kept for evaluation."""

    @property
    def verdict(self) -> str:
        """What was decided; empty: nothing."""


class Ended(Judged, Protocol):
    """How a call ended, too."""

    @property
    def status(self) -> int | None:
        """None: not known."""


class Sent(Protocol):
    """Whose call it is."""

    @property
    def principal(self) -> str:
        """As Envoy authenticated it."""

    @property
    def session(self) -> str:
        """A keyed digest."""

    @property
    def address(self) -> str:
        """A keyed digest."""


def succeeded(record: Ended) -> bool:
    """Tell whether a call ended well, as far as known; one that may calibrate then teaches."""
    return record.status is None or 200 <= record.status < 400


def calibrates(record: Judged) -> bool:
    """Tell whether a call counts as normal traffic when scores are calibrated."""
    return record.label != 1 and record.split != "test" and record.verdict != "deny"


def was_refused(record: Ended) -> bool:
    """Tell whether the service itself refused a call that may calibrate (4xx).

    It teaches only at endpoints where that is usual.
    """
    return record.status is not None and 400 <= record.status < 500 and calibrates(record)


def caller_of(record: Sent) -> str:
    """Name the caller that a call's novelties are counted for: its session, else address, else principal; empty: nobody known."""
    return record.session or record.address or record.principal
