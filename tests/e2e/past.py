"""Calls that a small mesh made in the past, as the recorder would have stored them: what the mesh's bundle is learned from.

In: the port of its database. Out: records, each made from the CheckRequest that an Envoy would have sent, so what is learned fits
what real Envoys ask later. Times are counted from 0, which is no clock's: no pace is learned, and tests may go as fast as they
like.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz_server.bundle import write_bundle
from authz_server.engine.call import CONNECTION
from authz_server.engine.canonical import to_call
from authz_server.engine.observe import Observer
from authz_server.engine.policy import Mode, SessionSource
from authz_server.engine.record import CallRecord, to_call_record
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.request import to_raw
from demo.identities import Identity
from tests.e2e.parts import COOKIE, HASH_KEY, check_request
from trainer.train import train_calls

AUDIT: Final = Identity("shop", "audit")
DATABASE: Final = Identity("shop", "database")
FRONT: Final = Identity("shop", "front")
GATEWAY: Final = Identity("istio", "gateway")
OPERATIONS: Final = Identity("ops", "reports")
STRANGER: Final = Identity("web", "stranger")

LOGIN: Final = {"user": "alice", "password": "correct horse"}
ORDER: Final = {"item": 1007, "count": 2}
PASSWORDLESS: Final = {"user": "alice"}
REPORTS: Final = "/reports/daily"

_VISITS: Final = 400
_USERS: Final = ("alice", "bob", "carol", "dave", "erin")


def learned(directory: Path, database_port: int) -> Path:
    """Learn the past, and publish the bundle."""
    observer = Observer(HASH_KEY)
    records = list(_records(observer, database_port))
    write_bundle(str(directory), train_calls(lambda: records), 1.0, observer.key_id)
    return directory


def _records(observer: Observer, database_port: int) -> Iterator[CallRecord]:
    """Log in, order, have the order audited and stored; every other time operations read a report."""
    for number in range(_VISITS):
        session, request_id = f"s{number:016x}", f"r{number}"
        login = {"user": _USERS[number % len(_USERS)], "password": f"password {number}"}
        order = {"item": 1000 + number * 7919 % 1000, "count": 1 + number % 12}
        calls = [
            _call(GATEWAY, FRONT, "POST", "/login", login, session),
            _call(GATEWAY, FRONT, "POST", "/orders", order, session, request_id),
            _call(FRONT, AUDIT, "POST", "/records", order, session, request_id),
            _connection(FRONT, DATABASE, database_port),
        ]
        if number % 2:
            calls.append(_call(OPERATIONS, FRONT, "GET", REPORTS, None, session))
        for step, request in enumerate(calls):
            yield _record(observer, request, 10.0 * number + step, f"d{number}-{step}")


def _call(
    source: Identity, destination: Identity, method: str, path: str, body: Any, session: str, request_id: str = ""
) -> CheckRequest:
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"x-request-id": request_id} if request_id else {}
    request = check_request(method, path, body=data, headers=headers, session=session)
    return _between(request, source, destination)


def _connection(source: Identity, destination: Identity, port: int) -> CheckRequest:
    request = check_request()
    request.attributes.ClearField("request")
    request.attributes.destination.address.socket_address.port_value = port
    return _between(request, source, destination)


def _between(request: CheckRequest, source: Identity, destination: Identity) -> CheckRequest:
    request.attributes.source.principal = source.principal
    request.attributes.destination.principal = destination.principal
    return request


def _record(observer: Observer, request: CheckRequest, ts: float, decision_id: str) -> CallRecord:
    request.attributes.request.time.seconds = 0
    call = to_call(to_raw(request, ts), observer, [SessionSource(cookie=COOKIE)])
    verdict = Verdict(Action.ALLOW, Basis.NO_MODEL, Mode.DRY_RUN, call.workload, decision_id)
    return msgspec.structs.replace(to_call_record(call, verdict), status=None if call.method == CONNECTION else 200)
