"""How the id of a hash key reads."""

from authz_server.engine.observe import Observer
from authz_server.key_id import show_key_id


def test_an_id_is_shown_and_that_of_no_key_says_so() -> None:
    assert "key id 0123456789abcdef" == show_key_id("0123456789abcdef")
    assert show_key_id(Observer("").key_id).endswith(", which is no key at all")


def test_what_claims_to_be_an_id_is_cut() -> None:
    assert len(show_key_id("x" * 1000)) < 120
