"""From a clear value to a Parameter: type, length, character classes, mask, number, digest.

The one place that sees clear values, and so the one place that decides what may leave the process (see `Parameter`).
Costs about 2 microseconds a new value and 0.1 for one seen lately (a bounded cache).
"""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from authz_server.engine.call import Kind, Parameter

__all__ = [
    "CACHED_LENGTH",
    "CACHED_STRING",
    "CLASS_NAMES",
    "MAX_CUT_NAME",
    "MAX_DIGESTED",
    "MAX_INTEGER",
    "MAX_NAME",
    "MAX_SYMBOLS",
    "MAX_TEXT",
    "Observer",
    "bounded_name",
    "class_names",
    "is_name",
    "is_secret",
    "names_itself",
    "structure",
    "symbols",
]

MAX_TEXT: Final = 64
"""Characters of a masked value that are kept."""
MAX_DIGESTED: Final = 256
"""Characters of the longest value that has a digest: a user agent has one, a document hasn't."""
MAX_NAME: Final = 64
"""Characters of a parameter's name that are kept; an attacker chooses names too."""
MAX_CUT_NAME: Final = MAX_NAME + 1
CACHED_LENGTH: Final = 256
"""Characters of a text, segment, session or address that is looked for in a cache."""
CACHED_STRING: Final = 40
"""Characters of a text in a body that is looked for in the cache: longer ones hardly ever come twice, as user agents do."""
_CACHE_ENTRIES: Final = 8192
_FEWER_ENTRIES: Final = 4096
MAX_INTEGER: Final = 10**18
"""Numbers of JSON from here on aren't looked for in a cache, or told apart by their digits."""
_EXACT_NUMBER: Final = 1e6
"""From here on a number keeps three significant digits: enough for a range, too few for a card number."""

_MIN_RANDOM: Final = 20
"""Characters of a random token that nobody can guess: 20 hexadecimal digits are 80 bits."""

_LARGEST: Final = 1e300
"""Numbers are cut to this, and their fractions to its inverse."""

_PUNCTUATION: Final = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
CLASS_NAMES: Final = (
    "lower-case letters",
    "upper-case letters",
    "digits",
    "spaces",
    "control characters",
    "non-ASCII letters",
    "bytes that aren't UTF-8",
    *(f"`{char}`" for char in _PUNCTUATION),
)
"""What each bit of `Parameter.classes` stands for, lowest first."""
_LOWER, _UPPER, _DIGIT, _SPACE, _CONTROL, _WIDE, NOT_UTF8 = (1 << i for i in range(7))


def _class_of(char: str) -> int:
    if char.islower():
        return _LOWER
    if char.isupper():
        return _UPPER
    if char.isdigit():
        return _DIGIT
    if char == " ":
        return _SPACE
    index = _PUNCTUATION.find(char)
    return 1 << (7 + index) if index >= 0 else _CONTROL


_MASK: Final = str.maketrans(
    {
        **{chr(i): "¤" for i in range(32)},
        "\x7f": "¤",
        **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a"),
        **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),
        **dict.fromkeys("0123456789", "0"),
    }
)
_MASK_OF_BYTE: Final = bytes([ord(chr(byte).translate(_MASK)) for byte in range(128)]) + bytes(range(128, 256))
_COMMON: Final = ((ord("a"), _LOWER), (ord("A"), _UPPER), (ord("0"), _DIGIT), (ord(" "), _SPACE))
_CLASS_OF_MASKED: Final = {"¤": _CONTROL, **{char: _class_of(char) for char in "aA0 " + _PUNCTUATION}}

# These run on values of a bounded length and have no nested repeats, so the standard library's engine is linear on them.
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[-+][0-9]{2}:?[0-9]{2})?)?\Z"
)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}\Z")
_HEX = re.compile(r"(?=[0-9a-fA-F]{0,64}[0-9])[0-9a-fA-F]{8,128}\Z")
_TOKEN = re.compile(r"(?=[A-Za-z_+/=.-]{0,255}[0-9])(?=[0-9_+/=.-]{0,255}[A-Za-z])[A-Za-z0-9_+/=.-]{16,256}\Z")
_WORD = re.compile(r"[A-Za-z_.][A-Za-z_.-]{0,63}\Z")
_NAME = re.compile(
    r"@?[A-Za-z_.~$-]{0,48}"
    r"(?:[A-Za-z_.~-](?:[0-9]{1,2}|(?<=[Ss][Hh][Aa])-?(?:224|256|384|512))){0,2}"
    r"[A-Za-z_.~:-]{0,48}\Z"
)
_WRITTEN = re.compile(r"[\w.:$~@/\[\]-]+\Z")
_CASE_CHANGE = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_CASED_WORD = re.compile(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+(?![a-z])[0-9]*|[0-9]+")
_DIGIT_WITHIN = re.compile(r"[0-9][A-Za-z]")
_BRACKETED = re.compile(r"[^\[\]]+")

_SECRET = re.compile(
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_]?key|authori[sz]ation|credential|session|signature|private"
    r"|card|cvv|cvc|ssn|iban|jwt|(?:^|[^a-z])(?:sid|pin|otp|auth|sig|key)(?:[^a-z]|$)"
)


def is_name(text: str) -> bool:
    """Tell whether a path segment or JSON key reads as a name a programmer chose, not as data.

    Letters with at most two short groups of digits (`v1`, `tienda1`, `app.min.js`) and few changes of case: `alice` is a name by
    this rule, a UUID, an amount, a hash, an e-mail address or a random identifier like `Ic6MTDqbZPxWpLIavdRDWx` isn't.
    """
    if len(text) > MAX_NAME or _NAME.match(text) is None:
        return False
    changes = len(_CASE_CHANGE.findall(text))
    return changes < 3 or (changes <= 6 and _is_made_of_words(text))


def _is_made_of_words(text: str) -> bool:
    """Tell a name with changes of case from a random identifier, whose words are shorter."""
    words = _CASED_WORD.findall(text)
    least = 3.0 if _DIGIT_WITHIN.search(text) else 2.5
    return sum([len(word) for word in words]) >= least * len(words)


@lru_cache(maxsize=4096)
def bounded_name(name: str) -> str:
    """A parameter's name: as sent where it reads as a name, else masked, so that ids used as names don't multiply.

    Letters stay where a programmer could have written the name (`items[0][id]`), not in a body or query that was cut into
    pairs but isn't made of any. Callers cut `name` to `MAX_CUT_NAME`, which changes nothing but what the cache holds.
    """
    if is_name(name):
        return name
    short = name[:MAX_NAME]
    if _WRITTEN.match(short):
        return _BRACKETED.sub(_written, short) if "[" in short else _without_digits(short, None)
    return _without_digits(short, "a")


def _written(part: re.Match[str]) -> str:
    """Keep a name between brackets, as in `address[line1]`, but no index or identifier: `items[0][id]`."""
    return part[0] if is_name(part[0]) else _without_digits(part[0], None)


def _without_digits(text: str, letter: str | None) -> str:
    return "".join(
        [
            "0" if c.isdigit() else letter or c if c.isalpha() else c if c.isprintable() else "?"
            for c in text.encode("ascii", "replace").decode()
        ]
    )


def is_secret(key: str) -> bool:
    """Tell whether a parameter's name says that its value is a credential or personal: then neither number nor digest is kept."""
    return _SECRET.search(key.lower()) is not None


def names_itself(segment: Parameter) -> bool:
    """Tell whether an observed path segment was a name, and so stands clear in `text`: masking keeps what `is_name` looks at."""
    return segment.length <= MAX_NAME and is_name(segment.text)


_is_secret = lru_cache(maxsize=4096)(is_secret)


def class_names(mask: int) -> list[str]:
    """Name the character classes of a mask in words."""
    return [name for bit, name in enumerate(CLASS_NAMES) if mask >> bit & 1]


def structure(text: str) -> str:
    """Collapse a mask to its structure: runs of letters, digits and spaces become one; all letters count alike.

    >>> structure("Aaa-00--0")
    'a-0--0'

    The structural view of Kruegel & Vigna (CCS 2003, 4.3) without its Markov model: sets of structures merge exactly. The cache
    holds short masks only: long ones rarely come twice, and to push an entry out costs more than to find a structure.
    """
    return _cached_structure(text) if len(text) <= _SHORT else _structure(text)


def _structure(text: str) -> str:
    if _CLEAR.search(text):  # a name in a path, which isn't masked
        text = text.translate(_MASK)
    text = text.replace("A", "a").replace("·", "a").replace("aaaa", "a")
    for pair, one in _RUNS:
        while pair in text:
            text = text.replace(pair, one)
    return text


_CLEAR = re.compile(r"[b-zB-Z1-9]")
_RUNS = (("aa", "a"), ("00", "0"), ("  ", " "))
_SHORT: Final = 24
_cached_structure = lru_cache(maxsize=_CACHE_ENTRIES)(_structure)


def symbols(text: str) -> frozenset[str]:
    """Count the punctuation marks of a mask, up to four of each: which, and how often. Its structure has the same ones.

    >>> sorted(symbols("aaa@aaa.aaa.aa"))
    ['.2', '@1']
    """
    return _cached_symbols(text) if len(text) <= _SHORT else _symbols(text)


def _symbols(text: str) -> frozenset[str]:
    marks = [char for char in set(text) if not (char.isalnum() or char in _WORDLESS)]
    return frozenset([f"{char}{min(text.count(char), MAX_SYMBOLS)}" for char in marks])


_cached_symbols = lru_cache(maxsize=_CACHE_ENTRIES)(_symbols)
MAX_SYMBOLS: Final = 4
"""From here on a punctuation mark is there often, and how often exactly says nothing."""
_WORDLESS: Final = frozenset("· ")


def _kind_of(text: str) -> Kind:
    """Type a text as its form shows it; numbers only up to 18 digits, since more is an identifier."""
    if not text:
        return Kind.EMPTY
    if not text.isascii() or len(text) > 512:
        return Kind.STRING
    first = text[0]
    if first.isdigit() or first in "+-.":
        if _INTEGER.match(text):
            return _INTEGRAL
        if _NUMBER.match(text):
            return _FRACTIONAL
        if _DATE.match(text):
            return Kind.DATE
    if " " in text:
        return _STRING  # no pattern below has a space
    return _NAME_LIKE if _WORD.match(text) else _kind_of_identifier(text)


def _kind_of_identifier(text: str) -> Kind:
    """Look at lengths first: to see that a pattern doesn't match costs more."""
    length = len(text)
    if length >= 8:
        if length == 36 and _UUID.match(text):
            return Kind.UUID
        if length <= 128 and _HEX.match(text):
            return Kind.HEX
        if length >= 16 and _TOKEN.match(text):
            return Kind.TOKEN
    return Kind.EMAIL if "@" in text and _EMAIL.match(text) else _STRING


# To ask an enumeration for a member costs ten times what a name costs.
_INTEGRAL: Final = Kind.INTEGER
_FRACTIONAL: Final = Kind.NUMBER
_STRING: Final = Kind.STRING
_NAME_LIKE: Final = Kind.WORD
_BOOLEAN: Final = Kind.BOOLEAN
_RANDOM: Final = frozenset({Kind.UUID, Kind.HEX, Kind.TOKEN})


def _masked(value: str) -> tuple[str, int]:
    """Mask a value of ASCII, and tell its character classes: all of them count, but only the first characters are shown."""
    data = value.encode().translate(_MASK_OF_BYTE)
    classes = 0
    for byte, bit in _COMMON:
        if byte in data:
            classes |= bit
    for byte in set(data.translate(None, b"aA0 ")):
        classes |= _CLASS_OF_MASKED[chr(byte)]
    return data[:MAX_TEXT].decode("latin-1"), classes


def _masked_wide(value: str) -> tuple[str, int]:
    """Mask any value; several times dearer."""
    masked = value[:MAX_TEXT].translate(_MASK)
    classes = 0
    for char in set(masked) if len(value) <= MAX_TEXT else set("".join(set(value)).translate(_MASK)):
        classes |= _CLASS_OF_MASKED.get(char, _WIDE)
    if classes & _WIDE:
        masked = "".join([char if char in _CLASS_OF_MASKED else "·" for char in masked])
    return masked, classes


def _rounded(number: float) -> float:
    """Round as `_EXACT_NUMBER` says, and keep what JSON can write and a logarithm can read: `1.0e999` is a float's infinity."""
    if -_EXACT_NUMBER < number < _EXACT_NUMBER:
        return number if abs(number) >= 1 / _LARGEST else 0.0
    return float(f"{min(max(number, -_LARGEST), _LARGEST):.2e}")


def _constant(key: str, text: str) -> Parameter:
    return Parameter(key, Kind.NULL if text == "null" else _BOOLEAN, 0, 0, text)


class Observer:
    """Turns clear values into Parameters under one hash key.

    The key (any length; only its digest is used) makes digests of two deployments incomparable and stops guessing by
    whoever holds a store or a bundle but not the key. Safe to share between threads.
    """

    def __init__(self, hash_key: str = "") -> None:
        key = blake2b(hash_key.encode(), digest_size=32).digest()
        self._keyed = blake2b(key=key, digest_size=6)
        """Copied for each digest: to set it up anew costs as much as the hash."""
        self.key_id = blake2b(b"key id", key=key, digest_size=8).hexdigest()
        """Tells whether two parties use the same key, without telling the key."""
        # The loops over a call's values ask these themselves, since a call of ours for each value costs more than the answer.
        self.cached_text = lru_cache(maxsize=_CACHE_ENTRIES)(self._text)
        """As `text`, which is only for values of up to `CACHED_LENGTH` characters."""
        self.cached_string = lru_cache(maxsize=_FEWER_ENTRIES)(self._string)
        """As `scalar` of a string of up to `CACHED_STRING` characters."""
        self.cached_integer = lru_cache(maxsize=_FEWER_ENTRIES)(self._integer)
        """As `scalar` of an integer within `MAX_INTEGER`, and no boolean, which would be found as a number."""
        self.cached_float = lru_cache(maxsize=_FEWER_ENTRIES)(self._float)
        """As `scalar` of a float within `MAX_INTEGER` other than 0, which would be found as -0."""
        self._cached_constant = lru_cache(maxsize=_FEWER_ENTRIES)(_constant)
        self._cached_segment = lru_cache(maxsize=_CACHE_ENTRIES)(self._segment)
        self._cached_session = lru_cache(maxsize=_CACHE_ENTRIES)(self._digest)

    def digest(self, text: str) -> str:
        """Hash a session or address: 12 hexadecimal digits, empty for the empty text."""
        if len(text) > CACHED_LENGTH:
            return self._digest(text)
        return self._cached_session(text) if text else ""

    def text(self, key: str, value: str, extra_classes: int = 0) -> Parameter:
        """Observe a value that arrived as text (query, header, cookie, form): its form decides its type."""
        if len(value) <= CACHED_LENGTH:
            return self.cached_text(key, value, extra_classes)
        return self._text(key, value, extra_classes)

    def segment(self, key: str, value: str, extra_classes: int = 0) -> Parameter:
        """Observe a path segment: as text, but a name stays clear."""
        if len(value) <= CACHED_LENGTH:
            return self._cached_segment(key, value, extra_classes)
        return self._segment(key, value, extra_classes)

    def scalar(self, key: str, value: str | float | bool | None) -> Parameter:  # noqa: FBT001
        """Observe a JSON scalar: JSON says its type, so `"7"` is a string and 7 an integer."""
        if isinstance(value, str):
            return self.cached_string(key, value) if len(value) <= CACHED_STRING else self._string(key, value)
        if value is None:
            return self._cached_constant(key, "null")
        if isinstance(value, bool):
            return self._cached_constant(key, "true" if value else "false")
        if not -MAX_INTEGER < value < MAX_INTEGER:
            return self._huge(key, value)
        if isinstance(value, int):
            return self.cached_integer(key, value)
        return self.cached_float(key, value) if value else self._float(key, value)

    def _float(self, key: str, value: float) -> Parameter:
        seen = self._observe(key, repr(value), 0, None)
        if seen.kind is _INTEGRAL or seen.kind is _FRACTIONAL:
            return seen
        # `1e-07` reads as a text, but JSON said that it is a number.
        number = None if _is_secret(key) else _rounded(value)
        return Parameter(key, _FRACTIONAL, seen.length, seen.classes, seen.text, number, seen.digest)

    def _string(self, key: str, value: str) -> Parameter:
        seen = self._observe(key, value, 0, None)
        if seen.kind is _INTEGRAL or seen.kind is _FRACTIONAL:
            return Parameter(key, _STRING, seen.length, seen.classes, seen.text, None, seen.digest)
        return seen

    def _integer(self, key: str, value: int) -> Parameter:
        return self._observe(key, repr(value), 0, None)

    def _huge(self, key: str, value: float) -> Parameter:
        kind = Kind.INTEGER if isinstance(value, int) else Kind.NUMBER
        number = None if _is_secret(key) else _rounded(float(min(max(value, -_LARGEST), _LARGEST)))
        return Parameter(key, kind, 20, _DIGIT, "0" * 20, number)

    def _digest(self, text: str) -> str:
        state = self._keyed.copy()
        state.update(text.encode("utf-8", "surrogateescape"))
        return state.hexdigest()

    def _text(self, key: str, value: str, extra_classes: int) -> Parameter:
        return self._observe(key, value, extra_classes, None)

    def _segment(self, key: str, value: str, extra_classes: int) -> Parameter:
        return self._observe(key, value, extra_classes, value if is_name(value) else None)

    def _observe(self, key: str, value: str, extra_classes: int, shown: str | None) -> Parameter:
        kind = _kind_of(value)
        masked, classes = _masked(value) if value.isascii() else _masked_wide(value)
        number = None
        digest = ""
        if not _is_secret(key):
            if kind is _INTEGRAL or kind is _FRACTIONAL:
                number = _rounded(float(value))
            if len(value) <= MAX_DIGESTED:
                digest = self._digest(value)
        elif kind in _RANDOM and _MIN_RANDOM <= len(value) <= MAX_DIGESTED and key.startswith(("cookie:", "header:")):
            digest = self._digest(value)
        return Parameter(key, kind, len(value), classes | extra_classes, shown if shown is not None else masked, number, digest)
