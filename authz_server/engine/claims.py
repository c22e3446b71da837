"""Claims of a JSON Web Token, read without checking its signature: for who the caller says it is, never for what it may do.

In: the value of an `authorization` header. Out: its payload's scalar claims as text, nested ones by dotted name. Verified claims
come from Envoy's `jwt_authn` filter instead (`request.py`). Costs about 10 microseconds a new token, nothing for one seen lately.
"""

from base64 import urlsafe_b64decode
from binascii import Error
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

__all__ = ["MAX_CLAIM", "MAX_CLAIMS", "flat_claims", "unverified_claims"]

MAX_CLAIM: Final = 256
"""Characters of a claim's value; longer ones are no identities."""
MAX_CLAIMS: Final = 64
_MAX_TOKEN: Final = 8192
_MAX_DEPTH: Final = 3
_NOTHING: Final[dict[str, str]] = {}


def unverified_claims(authorization: str) -> dict[str, str]:
    """List the claims of a bearer token (RFC 6750, 2.1; RFC 7519); none where it isn't a JWT.

    >>> unverified_claims("Bearer e30.eyJzdWIiOiJhbGljZSIsInJlYWxtIjp7ImlkIjo3fX0.")
    {'sub': 'alice', 'realm.id': '7'}
    """
    return _claims(authorization) if len(authorization) <= _MAX_TOKEN else _NOTHING


@lru_cache(maxsize=512)
def _claims(authorization: str) -> dict[str, str]:
    scheme, _, token = authorization.partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return _NOTHING
    try:
        payload = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.DecodeError, Error, ValueError, RecursionError):
        return _NOTHING
    return flat_claims(payload)


def flat_claims(payload: object) -> dict[str, str]:
    """Flatten a payload: scalars as text by dotted name, at most `MAX_CLAIMS`."""
    found: dict[str, str] = {}
    for name, value in _scalars(payload, "", _MAX_DEPTH):
        if len(found) >= MAX_CLAIMS:
            break
        found[name] = value
    return found


def _scalars(payload: object, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(payload, dict) or depth == 0:
        return
    for key, value in payload.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _scalars(value, f"{name}.", depth - 1)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value)
            if 0 < len(text) <= MAX_CLAIM and len(name) <= MAX_CLAIM:
                yield name, text
        elif isinstance(value, float) and value.is_integer():
            yield name, str(int(value))
