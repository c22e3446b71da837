"""One connection to Redis or Valkey, and how it is made from a URL. Whatever goes wrong on it is a HistoryFault of one kind.

The only module that imports `redis`, and only when a connector is asked for: the package is an optional extra.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from authz_server.engine.errors import SettingError
from authz_server.histories.history_url import to_redis_url
from authz_server.histories.redis_errand import Errand

__all__ = ["Fault", "HistoryFault", "Link", "connector"]

_MAX_OWED: Final = 8
_CONNECT_SECONDS: Final = 1.0
"""For connecting, TLS and login; always behind the answers."""


class Fault(StrEnum):
    """What went wrong; also a metric label."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """Refused, reset, no such host, no TLS."""
    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    """The user may not do what `PERMISSIONS` lists."""
    MEMORY = "memory"
    """Redis has reached its `maxmemory`, and its policy is to evict nothing."""
    REFUSED = "refused"
    """Any other error that Redis answers: it is loading, or a replica that can't be written."""
    BUSY = "busy"
    """More Checks at a time than connections."""


class HistoryFault(Exception):  # noqa: N818, a fault is what it is
    """Redis didn't do what it was asked; `fault` says why. Carries no text of Redis's, which could hold a key."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Link:
    """A connection, for one thread at a time. `trips` and `seconds` count what `run` took."""

    def __init__(self, connection: Any, exceptions: Any, epoch: int) -> None:
        """Wrap a connection of the package `redis`, and its module of exceptions; `epoch` is its owner's."""
        self._connection = connection
        self._exceptions = exceptions
        self._owed: list[Errand] = []
        self.epoch = epoch
        self.trips = 0
        self.seconds = 0.0

    def open(self) -> None:
        """Connect, log in, choose the database; raises HistoryFault."""
        answer = self._try(self._connection.connect)
        if isinstance(answer, Fault):
            raise HistoryFault(answer)

    def run(self, errand: Errand) -> Any:
        """Run one script in one round trip (two where Redis doesn't know it yet); raises HistoryFault."""
        [answer] = self.run_all((errand,))
        if isinstance(answer, Fault):
            raise HistoryFault(answer)
        return answer

    def run_all(self, errands: Sequence[Errand]) -> list[Any]:
        """Run scripts in one round trip; an answer is Redis's or a Fault. Raises HistoryFault where the connection fails."""
        self._collect()
        answers = self._trip([_by_name(one) for one in errands])
        unknown = [index for index, answer in enumerate(answers) if answer is _NO_SCRIPT]
        if unknown:
            later = self._trip([_by_text(errands[index]) for index in unknown])
            for index, answer in zip(unknown, later, strict=True):
                answers[index] = answer
        return answers

    def send(self, errand: Errand) -> None:
        """Send a script without waiting; its answer is read, and dropped, before the next one's. Raises HistoryFault."""
        if len(self._owed) >= _MAX_OWED:
            self._collect()
        connection = self._connection
        self._try(connection.send_packed_command, connection.pack_commands([_by_name(errand)]))
        self._owed.append(errand)

    def ping(self) -> None:
        """Find out whether it still works; raises HistoryFault."""
        self._collect()
        self._trip([("PING",)])

    def close(self) -> None:
        """End it; never raises."""
        with suppress(Exception):
            self._connection.disconnect()

    def _collect(self) -> None:
        owed, self._owed = self._owed, []
        answers = [self._try(self._connection.read_response) for _ in owed]
        unknown = [errand for errand, answer in zip(owed, answers, strict=True) if answer is _NO_SCRIPT]
        if unknown:
            self._trip([_by_text(errand) for errand in unknown])

    def _trip(self, commands: Sequence[tuple[object, ...]]) -> list[Any]:
        connection = self._connection
        self._try(connection.send_packed_command, connection.pack_commands(commands))
        return [self._try(connection.read_response) for _ in commands]

    def _try(self, act: Callable[..., Any], *args: object) -> Any:
        """Do something on the connection; an error that Redis answers is returned, one of the connection is raised."""
        exceptions = self._exceptions
        try:
            return act(*args)
        except exceptions.NoScriptError:
            return _NO_SCRIPT
        except (exceptions.TimeoutError, TimeoutError) as error:
            raise HistoryFault(Fault.TIMEOUT) from error
        except exceptions.AuthenticationError as error:
            raise HistoryFault(Fault.CREDENTIALS) from error
        except exceptions.BusyLoadingError as error:
            raise HistoryFault(Fault.REFUSED) from error
        except (exceptions.ConnectionError, OSError) as error:
            raise HistoryFault(Fault.CONNECTION) from error
        except exceptions.ResponseError as error:
            return _to_fault(str(error))


_NO_SCRIPT: Final = object()


def _by_name(errand: Errand) -> tuple[object, ...]:
    return "EVALSHA", errand.script.sha, len(errand.keys), *errand.keys, *errand.args


def _by_text(errand: Errand) -> tuple[object, ...]:
    return "EVAL", errand.script.text, len(errand.keys), *errand.keys, *errand.args


def _to_fault(text: str) -> Fault:
    """Tell an error that Redis answers; inside a script its own errors are wrapped, so the whole text is looked at."""
    if "OOM" in text or "maxmemory" in text:
        return Fault.MEMORY
    if re.search(r"NOPERM|no permissions|can't run this command|ACL failure", text):
        return Fault.PERMISSION
    return Fault.CREDENTIALS if re.search("NOAUTH|WRONGPASS", text) else Fault.REFUSED


def connector(url: str, timeout: float) -> Callable[[int], Link]:
    """Make what makes Links to `url`, given their epoch; they wait for an answer for at most `timeout` seconds.

    Raises SettingError where the package `redis` is missing or the URL's options mean nothing to it.
    """
    try:
        from redis import exceptions
        from redis.backoff import NoBackoff
        from redis.connection import ConnectionPool
        from redis.retry import Retry
    except ImportError as error:
        raise SettingError("history: expected the package `redis` for such a URL: pip install 'meshwarden[redis]'") from error
    known = to_redis_url(url)
    options = {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        **({} if known.startswith("unix:") else {"socket_keepalive": True}),
    }
    pool = ConnectionPool.from_url(known, **options)
    # Of the pool only what it made of the URL is used: it counts the connections that it makes and never forgets one.
    make, how = pool.connection_class, pool.connection_kwargs
    try:
        make(**how)
    except (exceptions.RedisError, ValueError, TypeError) as error:
        raise SettingError(f"history: expected options of a connection, got {type(error).__name__}") from error

    def connect(epoch: int) -> Link:
        link = Link(make(**how), exceptions, epoch)
        link.open()
        return link

    return connect
