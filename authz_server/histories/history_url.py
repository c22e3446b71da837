"""Which URLs a shared history can be kept under: of a Redis or Valkey, on TCP, with TLS or on a Unix socket.

Options that could hold a password, or change how long a call waits, are not among those understood.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

__all__ = ["is_history_url", "to_redis_url"]

_SCHEMES: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_OPTIONS: Final = {
    "redis": (),
    "rediss": ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"),
    "unix": ("db",),
}


def is_history_url(text: str) -> bool:
    """Tell whether a text is a URL that histories can be kept under.

    >>> is_history_url("valkey://user:p%40ss@cache:6379/1"), is_history_url("redis://user:p@ss@cache")
    (True, False)
    """
    try:
        url = urlsplit(text)
        scheme = _SCHEMES[url.scheme]
        options = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        if url.fragment or any(name not in _OPTIONS[scheme] for name, _ in options) or url.netloc.count("@") > 1:
            return False
        if scheme == "unix":
            return not url.hostname and bool(url.path.strip("/"))
        return bool(url.hostname) and url.port != 0 and bool(re.fullmatch(r"/?|/[0-9]{1,5}", url.path))
    except (KeyError, ValueError):
        return False


def to_redis_url(url: str) -> str:
    """Spell a history's URL as the package `redis` knows it.

    >>> to_redis_url("valkeys://cache/2")
    'rediss://cache/2'
    """
    scheme, colon, rest = url.partition(":")
    return _SCHEMES[scheme.lower()] + colon + rest
