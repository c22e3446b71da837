"""Findings and surprises as data."""

from authz_server.engine.finding import FindingCode, Surprise
from tests.factories_engine import surprise


def in_words(count: int, normal: str) -> tuple[str, str]:
    return f"{count} items", f"at most {normal}"


def test_words_are_found_when_somebody_asks() -> None:
    told = Surprise(FindingCode.RANGE, 4.0, "body:/count", (in_words, 7, "3"), "", 48_211)
    assert ("7 items", "at most 3") == told.words == (told.seen, told.normal)


def test_words_that_are_there_are_taken() -> None:
    assert ("-1", "an integer from 1 to 12") == surprise().words
