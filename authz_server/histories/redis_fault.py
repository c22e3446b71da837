"""What can go wrong with Redis or Valkey: one kind each, for metrics and logs; what it answers, or an exception -> the kind."""

import re
import ssl
from enum import StrEnum
from typing import Any, Final

__all__ = ["EXPECTED", "Fault", "HistoryFault", "of_exception", "of_reply"]


class Fault(StrEnum):
    """What went wrong; also a metric label."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """Refused, reset, no such host."""
    TLS = "tls"
    CREDENTIALS = "credentials"
    DATABASE = "database"
    CLUSTER = "cluster"
    PERMISSION = "permission"
    """The user may not do what `PERMISSIONS` lists."""
    MEMORY = "memory"
    """Redis has reached its `maxmemory`, and its policy is to evict nothing."""
    REFUSED = "refused"
    """Any other error that Redis answers: it is loading, or a replica that can't be written."""
    BUSY = "busy"
    """More Checks at a time than connections."""


EXPECTED: Final = {
    Fault.TIMEOUT: "an answer within history_timeout_ms",
    Fault.CONNECTION: "a Redis or Valkey that accepts connections, with TLS if the URL says so",
    Fault.TLS: "TLS with a certificate that ssl_ca_certs, or else the system, trusts for this host, and accepts ours",
    Fault.CREDENTIALS: "the user and password that Redis knows",
    Fault.DATABASE: "the number of a database that Redis has",
    Fault.CLUSTER: "a Redis or Valkey that is not in cluster mode",
    Fault.PERMISSION: "a user with the rights of PERMISSIONS in redis_scripts.py",
    Fault.MEMORY: "maxmemory-policy volatile-lfu, or more memory",
    Fault.REFUSED: "a Redis or Valkey that has loaded, and may be written",
    Fault.BUSY: "no more Checks at a time than threads",
}
"""What would have been right, for the log."""


class HistoryFault(Exception):  # noqa: N818, a fault is what it is
    """Redis didn't do what it was asked; `fault` says why. Carries no text of Redis's, which could hold a key.

    `late`: the answer may still come on the same connection.
    """

    def __init__(self, fault: Fault, *, late: bool = False) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.late = late


_TEXTS: Final = (
    (re.compile("OOM|maxmemory"), Fault.MEMORY),
    (re.compile("NOPERM|no permissions|can't run this command|ACL failure"), Fault.PERMISSION),
    (re.compile("NOAUTH|WRONGPASS|invalid password|AUTH <password> called"), Fault.CREDENTIALS),
    (re.compile("DB index is out of range|invalid DB index|SELECT is not allowed"), Fault.DATABASE),
    (re.compile("^(MOVED|ASK|CROSSSLOT|CLUSTERDOWN) "), Fault.CLUSTER),
)


def of_reply(text: str) -> Fault:
    """Tell an error that Redis answers; inside a script its own errors are wrapped, so the whole text is looked at."""
    return next((fault for pattern, fault in _TEXTS if pattern.search(text)), Fault.REFUSED)


def of_exception(error: BaseException, exceptions: Any) -> Fault:
    """Tell an exception of the package `redis`, whose module of them is given: the cause behind it says most."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    if any(isinstance(one, ssl.SSLError) or "handshake" in str(one) for one in chain):
        return Fault.TLS
    if any(isinstance(one, exceptions.AuthenticationError) for one in chain):
        return Fault.CREDENTIALS
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return Fault.TIMEOUT
    fault = of_reply(str(error))
    if fault is not Fault.REFUSED or isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError):
        return fault
    return Fault.CONNECTION
