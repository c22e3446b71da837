"""Valid by default; a test overrides only what it is about."""

from typing import Any

from authz_server.engine.call import Call, Caller, Kind, Parameter
from authz_server.engine.canonical import RawCall, to_call
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord, OutcomeRecord

__all__ = ["KEY_ID", "call", "outcome_record", "parameter", "raw_call", "record"]

_OBSERVER = Observer("test key")
KEY_ID = _OBSERVER.key_id


def raw_call(**changes: Any) -> RawCall:
    """A shopper puts something into the cart."""
    body = b'{"item": "tea", "count": 2, "gift": false}'
    values: dict[str, Any] = {
        "ts": 1_700_000_000.0,
        "method": "POST",
        "target": "/cart/17/items?currency=EUR",
        "headers": {
            ":authority": "cart.shop",
            "content-type": "application/json",
            "user-agent": "shop-app/1.0",
            "cookie": "sid=0a1b2c3d4e5f",
        },
        "body": body,
        "body_size": len(body),
        "source": "spiffe://cluster.local/ns/shop/sa/web",
        "address": "10.0.0.7",
        "workload": "shop/cart",
        "request_id": "6f1c-17",
    }
    return RawCall(**values | changes)


def call(**changes: Any) -> Call:
    """The Call of `raw_call()`; changes are to fields of Call."""
    usual = to_call(raw_call(), _OBSERVER)
    values = {name: getattr(usual, name) for name in usual.__struct_fields__}
    values["caller"] = Caller("cluster.local/ns/shop/sa/web", "0123456789ab", "ba9876543210")
    return Call(**values | changes)


def parameter(**changes: Any) -> Parameter:
    """A small integer in the query."""
    values: dict[str, Any] = {"key": "query:count", "kind": Kind.INTEGER, "length": 1, "classes": 4, "text": "0", "number": 2.0}
    return Parameter(**values | changes)


def record(**changes: Any) -> CallRecord:
    """The stored form of `call()`, decided and not yet ended."""
    usual = call()
    values: dict[str, Any] = {
        "id": "d-1",
        "ts": usual.ts,
        "workload": usual.workload,
        "method": usual.method,
        "path": usual.path,
        "segments": usual.segments,
        "parameters": usual.parameters,
        "principal": usual.caller.principal,
        "session": usual.caller.session,
        "request_id": usual.request_id,
        "body": usual.body,
        "body_size": usual.body_size,
        "verdict": "allow",
        "mode": "dry_run",
        "p_value": 0.5,
        "endpoint": "POST /cart/{*}/items",
    }
    return CallRecord(**values | changes)


def outcome_record(**changes: Any) -> OutcomeRecord:
    """How `record()` ended: well."""
    values: dict[str, Any] = {"id": "d-1", "ts": 1_700_000_000.0, "status": 200, "resp_size": 512, "duration_ms": 12.5}
    return OutcomeRecord(**values | changes)
