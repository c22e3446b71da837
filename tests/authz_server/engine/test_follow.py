"""What must follow a call."""

from authz_server.engine.follow import Follow, missing, outcome_class, to_surprise
from authz_server.engine.verdict import to_finding

AUDIT = Follow("shop/audit", "POST /records", 3_484, 3.5)
STOCK = Follow("shop/stock", "GET /stock/{*}", 3_484, 2.5)


def test_what_is_missing_comes_with_the_most_surprising_first() -> None:
    assert [AUDIT, STOCK] == missing((STOCK, AUDIT), {("shop/audit", "GET /records")})
    assert [STOCK] == missing((STOCK, AUDIT), {("shop/audit", "POST /records"), ("shop/shop", "POST /cart")})
    assert [] == missing((), set())


def test_what_follows_only_with_something_else_is_missing_only_with_it() -> None:
    priced = Follow("shop/prices", "GET /prices", 900, 2.9, (("shop/stock", "GET /stock/{*}"),))
    assert [priced] == missing((priced,), {("shop/stock", "GET /stock/{*}")})
    assert [] == missing((priced,), {("shop/audit", "POST /records")})
    text = to_finding(to_surprise("GET /page", priced), "GET /page").text
    assert text.startswith("GET /page with GET /stock/{*} at shop/stock was not followed by GET /prices at shop/prices")


def test_outcomes_are_told_apart_by_class() -> None:
    assert ["", "1xx", "2xx", "4xx", "5xx", ""] == [outcome_class(status) for status in (0, 101, 204, 402, 599, 700)]


def test_a_missing_call_in_words() -> None:
    finding = to_finding(to_surprise("POST /cart", AUDIT), "POST /cart")
    assert finding.text == (
        "POST /cart was not followed by POST /records at shop/audit; in 3,484 calls: POST /records at shop/audit followed"
    )
