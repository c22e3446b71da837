"""Traffic for the study's tests: browsing and ordering in a shop, every figure told by the call's number."""

from typing import Any

from authz_server.engine.record import CallRecord
from tests.factories_engine import JSON, NOON, record
from trainer.study.sample import Sampled, draw_sample

__all__ = ["browse", "keyed", "order", "sampled", "shop"]


def browse(number: int = 0, **changes: Any) -> CallRecord:
    """Make a GET without a body and with a large answer."""
    values = {"ts": NOON + number, "resp_size": 5_000 + 37 * (number % 11), "duration_ms": 4.0 + number % 3}
    method, record_id = changes.pop("method", "GET"), changes.pop("id", f"b-{number}")
    return record(method, f"/items/{number}", record_id=record_id, **{**values, **changes})


def order(number: int = 0, **changes: Any) -> CallRecord:
    """Make a POST with a body and a small answer."""
    values = {
        "ts": NOON + number,
        "headers": JSON,
        "body": b'{"count": 1}',
        "body_size": 300 + number % 7,
        "resp_size": 40,
        "duration_ms": 60.0 + number % 5,
        "status": 201,
    }
    method = changes.pop("method", "POST")
    return record(method, "/orders", record_id=f"o-{number}", **{**values, **changes})


def shop(calls: int = 60) -> list[CallRecord]:
    """Make calls in time order, every third of them an order."""
    return [order(number) if number % 3 == 0 else browse(number) for number in range(calls)]


def keyed(records: list[CallRecord]) -> list[tuple[str, CallRecord]]:
    """Give each its key."""
    return [(one.id, one) for one in records]


def sampled(records: list[CallRecord], limit: int = 1_000, **settings: Any) -> Sampled:
    """Sample all of them, unless there are more than `limit`."""
    return draw_sample(keyed(records), limit, **settings)
