"""How connections to Redis or Valkey are made from a URL: login, database, TLS, and that it isn't a cluster.

The only module that imports `redis` and `hiredis`, and only when a connector is asked for: they are an optional extra.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from authz_server.engine.errors import SettingError
from authz_server.histories.history_url import to_redis_url
from authz_server.histories.redis_fault import Fault, HistoryFault, of_exception
from authz_server.histories.redis_link import Link

__all__ = ["connector"]

_CONNECT_SECONDS: Final = 1.0
"""For connecting, TLS and login, each; always behind the answers."""
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def connector(url: str, timeout: float) -> Callable[[int], Link]:
    """Make what makes Links to `url`, given their epoch; they wait for an answer for at most `timeout` seconds.

    Raises SettingError where the package `redis` is missing or the URL's options mean nothing to it, or name no file. What is
    made raises HistoryFault.
    """
    try:
        import hiredis
        from redis import exceptions
        from redis.backoff import NoBackoff
        from redis.connection import ConnectionPool
        from redis.retry import Retry
    except ImportError as error:
        raise SettingError("history: expected the package `redis` for such a URL: pip install 'meshwarden[redis]'") from error
    known = to_redis_url(url)
    options = {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        **({} if known.startswith("unix:") else {"socket_keepalive": True}),
    }
    pool = ConnectionPool.from_url(known, **options)
    # Of the pool only what it made of the URL is used: it counts the connections that it makes and never forgets one.
    make, how = pool.connection_class, pool.connection_kwargs
    _check_files(how)
    try:
        make(**how)
    except (exceptions.RedisError, ValueError, TypeError) as error:
        raise SettingError(f"history: expected options of a connection, got {type(error).__name__}") from error

    def connect(epoch: int) -> Link:
        connection = make(**how)
        try:
            connection.connect()
        except (exceptions.RedisError, OSError) as error:
            connection.disconnect()
            raise HistoryFault(of_exception(error, exceptions)) from error
        link = Link(connection, hiredis, timeout, epoch)
        try:
            _check_alone(link)
        except HistoryFault:
            link.close()
            raise
        return link

    return connect


def _check_files(how: dict[str, Any]) -> None:
    """See that certificates and keys can be read, and say all that can't; raises SettingError."""
    problems = []
    for option in _FILES:
        path = how.get(option)
        try:
            if path is not None:
                Path(path).open("rb").close()
        except OSError as error:
            problems.append(f"history: {option}: expected a file that can be read: {error.strerror}")
    if problems:
        raise SettingError(*problems)


def _check_alone(link: Link) -> None:
    """See that it isn't a node of a cluster, which owns but a part of the keys, and may give it away."""
    if b"cluster_enabled:1" in link.command("INFO", "cluster", seconds=_CONNECT_SECONDS):
        raise HistoryFault(Fault.CLUSTER)
