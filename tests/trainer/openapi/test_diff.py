"""What is new, gone and changed between two documents of ours."""

import copy
from typing import Any

from tests.trainer.openapi.shop import document
from trainer.openapi.contract import to_contract
from trainer.openapi.diff import changes, to_lines


def lines(change: Any) -> list[str]:
    later = copy.deepcopy(document())
    change(later)
    return to_lines(changes({"shop/cart": to_contract(document())}, {"shop/cart": to_contract(later)}))


def test_nothing_differs_in_the_same_document() -> None:
    assert lines(lambda later: None) == ["no difference"]


def test_counts_and_times_alone_are_no_change() -> None:
    def more(later: Any) -> None:
        later["info"]["version"] = "r-2"
        later["paths"]["/pay"]["post"]["x-meshwarden"] = {"calls": 10**6}

    assert lines(more) == ["no difference"]


def test_what_changed_is_named() -> None:
    def change(later: Any) -> None:
        later["paths"].pop("/pay")
        later["paths"]["/new/{newId}"] = {"get": {"x-meshwarden": {"calls": 7}, "responses": {}}}
        cart = later["components"]["schemas"]["post.cart"]
        cart["properties"]["count"]["maximum"] = 99
        cart["properties"]["gift"] = {"type": "boolean"}
        cart["required"].remove("item")
        later["paths"]["/cart"]["post"]["responses"]["422"] = {"x-meshwarden": {"calls": 3}}

    pay = document()["paths"]["/pay"]["post"]["x-meshwarden"]["calls"]
    assert lines(change) == [
        "  shop/cart",
        "    POST /cart",
        "~     body:/count: integer, required, at least 1, at most 12 -> integer, required, at least 1, at most 99",
        "+     body:/gift: boolean",
        "~     body:/item: integer, required, at least 1000, at most 1100 -> integer, at least 1000, at most 1100",
        "+     response 422: seen",
        "+   GET /new/{*}  (7 calls)",
        f"-   POST /pay  ({pay:,} calls)",
    ]


def test_an_empty_text_is_seen_among_an_enumeration_s_values() -> None:
    def change(later: Any) -> None:
        later["components"]["schemas"]["post.cart"]["properties"]["gift"] = {"type": "string", "enum": ["", "card"]}

    assert lines(change)[-1] == '+     body:/gift: string, one of "", card'


def test_workloads_come_and_go() -> None:
    one = to_contract(document())
    assert to_lines(changes({"a": one}, {"b": one})) == ["- a", "+ b"]
