"""Who may log in, shared by the services that check passwords and the clients that type them."""

from __future__ import annotations

import hashlib

_WORDS = ("maple", "harbor", "violet", "copper", "meadow", "falcon", "winter", "ginger", "pebble", "lantern")
_ENDS = ("!", "", "", "?", "#", "")


def password_of(username: str) -> str:
    """The one right password of any user name: some word, some digits, at times a sign."""
    digest = hashlib.sha256(f"demo:{username}".encode()).digest()
    word = _WORDS[digest[0] % len(_WORDS)]
    if digest[1] % 3 == 0:
        word = word.capitalize()
    return f"{word}{int.from_bytes(digest[2:4], 'big') % 9000 + 100}{_ENDS[digest[4] % len(_ENDS)]}"


def token_of(service: str, username: str, login: int) -> str:
    """The session cookie of a user's n-th login: unguessable enough for a demo, and the same in every run."""
    return hashlib.sha256(f"{service}:{username}:{login}".encode()).hexdigest()[:32]
