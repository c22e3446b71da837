"""Only what is known already can be read, and only under the bundle's key."""

from pathlib import Path

import pytest

from authz_server.engine.errors import SettingError
from authz_server.engine.observe import Observer
from tests.factories_engine import OBSERVER, endpoint_profile, model, parameter_profile
from trainer.openapi.words import MAX_LENGTH, names_of, read_words, to_vocabulary


def named(value: str, *words: str, documented: tuple[str, ...] = ()) -> str | None:
    return to_vocabulary(OBSERVER, words, documented).get(OBSERVER.text("query:x", value).digest)


@pytest.mark.parametrize("value", ["true", "DESC", "EUR", "", "de", "Monday"])
def test_what_every_api_uses_is_known(value: str) -> None:
    assert value == named(value)


def test_a_word_that_nobody_named_stays_unread() -> None:
    assert named("mallory") is None
    assert named("mallory", "mallory") == "mallory"
    assert named("MALLORY", "mallory") == "MALLORY"


def test_long_values_are_read_only_from_the_users_document() -> None:
    long = "x" * (MAX_LENGTH + 1)
    assert named(long, long) is None
    assert named(long, documented=(long,)) == long


def test_another_key_reads_nothing() -> None:
    vocabulary = to_vocabulary(Observer("another"), ["mallory"])
    assert OBSERVER.text("query:x", "mallory").digest not in vocabulary


def test_names_of_paths_and_parameters_are_known() -> None:
    known = model({"GET /users/{*}/orders": endpoint_profile(parameters={"body:/items/*/sku": parameter_profile()})})
    assert {"users", "orders", "items", "sku"} <= set(names_of([known]))


def test_a_list_of_words_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("tea\n coffee \n")
    assert {"tea", "coffee"} <= set(read_words(file))
    with pytest.raises(SettingError, match="words"):
        read_words(tmp_path / "none")
