"""Which values of an enumeration may be shown. In: candidate words. Out: digest -> word, under the bundle's hash key.

Neither store nor bundle has a clear value, so nothing can be read out of them. What can be done, by whoever has the hash key, is
to ask whether a word that is *already known* was among the values: words that every API uses, names that stand clear in the
bundle anyway, those of the user's own document, and a list that the user gives. A value that nobody could name stays a digest,
and only values that several callers sent are in an enumeration at all, never those of a parameter with a secret's name.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Final

from authz_server.engine.endpoint import WILDCARD
from authz_server.engine.errors import SettingError
from authz_server.engine.model import WorkloadModel
from authz_server.engine.observe import Observer
from trainer.openapi.media import MEDIA

__all__ = ["COMMON", "INTEGER", "MAX_LENGTH", "names_of", "read_words", "to_vocabulary"]

MAX_WORDS: Final = 200_000
MAX_LENGTH: Final = 32
_LETTERS: Final = (*ascii_lowercase, *[first + second for first in ascii_lowercase for second in ascii_lowercase])
"""Sizes, countries, languages and states among them; nobody is recognised by two letters."""
INTEGER: Final = "integer "
"""Stands before the digest where only a number is meant: numbers stand clear in a bundle anyway, texts made of digits don't."""
_MAX_INTEGER: Final = 10_000
_LOCALE: Final = re.compile(r"([a-z]{2})-([a-z]{2})\Z")
_ORDERS: Final = ("{}_asc", "{}_desc", "{}-asc", "{}-desc", "{}:asc", "{}:desc", "{} asc", "{} desc", "-{}", "+{}")
"""How an order is written that goes by a name."""

COMMON: Final = tuple(
    # What programmers choose between, in nearly every API: nobody is recognised by one of these.
    "true false yes no on off y n t f null none all any both auto default other unknown enabled disabled active inactive open"
    " closed query mutation subscription"
    " new old asc desc ascending descending up down left right top bottom first last next prev previous before after start end"
    " id name title date time price rating score count size weight type kind status state category popularity relevance newest"
    " oldest latest random small medium large xs sm md lg xl xxl low normal high urgent critical info debug warning error fatal"
    " day week month year hour minute second daily weekly monthly yearly today yesterday tomorrow mon tue wed thu fri sat sun jan"
    " feb mar apr jun jul aug sep oct nov dec monday tuesday wednesday thursday friday saturday sunday january february march"
    " april may june july august september october november december json xml csv html text pdf png jpg jpeg gif svg yaml zip"
    " utf-8 gzip basic bearer get post put delete patch head options create read update list add remove edit save cancel submit"
    " search view show hide pending approved rejected accepted declined completed failed success cancelled canceled paid unpaid"
    " shipped delivered returned refunded draft published archived deleted public private internal external admin user guest"
    " member owner editor viewer male female diverse free standard express premium pro enterprise card cash invoice paypal visa"
    " mastercard amex debit credit transfer red green blue black white yellow orange purple pink brown grey gray light dark"
    " system"
    " en-us en-gb de-de de-at de-ch fr-fr es-es it-it pt-br zh-cn zh-tw ja-jp ko-kr eur usd gbp chf jpy cny aud cad sek nok dkk"
    " warn trace notice hold processing blocked suspended expired trial basic silver gold platinum"
    " pln czk huf inr brl essential necessary mobile desktop tablet web app ios android email sms phone push post mail".split()
)


def names_of(models: Iterable[WorkloadModel]) -> Iterator[str]:
    """List the names that stand clear in models: of path segments and of parameters."""
    for model in models:
        for endpoint, profile in model.endpoints.items():
            yield from (part for part in endpoint.partition(" ")[2].split("/") if part != WILDCARD)
            for key in profile.parameters:
                yield from key.partition(":")[2].split("/")


def read_words(file: Path) -> list[str]:
    """Read a list of words, one a line; raises SettingError."""
    try:
        words = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"words: expected a readable text file, one word a line: {error}") from error
    if len(words) > MAX_WORDS:
        raise SettingError(f"words: expected at most {MAX_WORDS:,} words, got {len(words):,}")
    return [word.strip() for word in words]


def to_vocabulary(observer: Observer, words: Iterable[str], documented: Iterable[str] = ()) -> dict[str, str]:
    """Map digests to words, to their lower-case, upper-case and capitalised forms, and to nothing at all; small integers apart.

    Longer ones than `MAX_LENGTH` are left out; not so `documented`, values that a document of the user's lists as they are. Where
    two would have one digest, neither is told.
    """
    known = [word for word in (*COMMON, *_LETTERS, *words) if len(word) <= MAX_LENGTH]
    forms = {form for word in known for form in (word, word.lower(), word.upper(), word.capitalize())} | set(documented)
    forms |= set(MEDIA)
    forms |= {order.format(word) for word in known if len(word) > 1 for order in _ORDERS}
    forms |= {f"{one[1]}{mark}{one[2].upper()}" for word in COMMON if (one := _LOCALE.match(word)) for mark in "-_"}
    found: dict[str, str] = {}
    ambiguous = set()
    for form in sorted(forms | {""}):
        digest = observer.text("query:word", form).digest
        if found.setdefault(digest, form) != form:
            ambiguous.add(digest)
    integers = {f"{INTEGER}{observer.text('query:word', str(n)).digest}": str(n) for n in range(_MAX_INTEGER + 1)}
    return {digest: form for digest, form in found.items() if digest not in ambiguous} | integers
