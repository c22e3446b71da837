"""Which recorded calls may teach, which may calibrate, and whose novelties they are.

May teach: calls that ended well (2xx/3xx, or unknown), aren't labelled as attacks, belong to no test split, and weren't denied
when they were made. May calibrate: also those that ended in an error, since they too are normal calls that must not be refused.
"""

from authz_server.engine.record import CallRecord

__all__ = ["calibrates", "caller_of", "teaches", "was_refused"]


def teaches(record: CallRecord) -> bool:
    """Tell whether a call may teach what is normal."""
    return calibrates(record) and (record.status is None or 200 <= record.status < 400)


def calibrates(record: CallRecord) -> bool:
    """Tell whether a call counts as normal traffic when scores are calibrated."""
    return record.label != 1 and record.split != "test" and record.verdict != "deny"


def was_refused(record: CallRecord) -> bool:
    """Tell whether the service itself refused a call that may calibrate (4xx).

    It teaches only at endpoints where that is usual.
    """
    return calibrates(record) and record.status is not None and 400 <= record.status < 500


def caller_of(record: CallRecord) -> str:
    """Name the caller that a call's novelties are counted for: its session, else address, else principal; empty: nobody known."""
    return record.session or record.address or record.principal
