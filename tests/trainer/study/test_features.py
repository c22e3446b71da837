"""One-hot, logarithms, what is missing and what is dropped."""

from typing import Any

import numpy as np
import pytest

from authz_server.engine.record import CallRecord
from tests.trainer.study.traffic import browse, order, sampled, shop
from trainer.study.features import MAX_LEVELS, Encoding, encode, fit_encoding
from trainer.study.table import Table, to_table


def table_of(records: list[CallRecord]) -> Table:
    return to_table(sampled(records, 10_000).calls)


def column(table: Table, encoding: Encoding, name: str) -> list[float]:
    values: list[float] = encode(table, encoding)[:, encoding.names.index(name)].tolist()
    return values


def reasons(encoding: Encoding) -> dict[str, str]:
    return {one.name: one.reason for one in encoding.dropped}


def test_columns_with_one_value_are_dropped_and_it_is_said_which() -> None:
    dropped = reasons(fit_encoding(table_of(shop(30))))
    assert {
        "source": "always `cluster.local/ns/shop/sa/web`",
        "destination": "always `shop/cart`",
        "form": "always `plain`",
        "query_parameters": "always 0",
    } == dropped


def test_calls_that_are_all_alike_leave_no_column() -> None:
    table = table_of([browse(7, ts=1.75e9 + number, id=f"{number}") for number in range(9)])
    encoding = fit_encoding(table)
    assert (9, 0) == encode(table, encoding).shape
    assert 12 == len(encoding.dropped)


def test_a_level_is_1_where_the_call_has_it() -> None:
    table = table_of(shop(6))
    assert [1.0, 0.0, 0.0, 1.0, 0.0, 0.0] == column(table, fit_encoding(table), "method = POST")


def test_levels_are_bounded_and_the_rest_share_a_column() -> None:
    table = table_of([browse(number, method=f"M{number % 40:02}") for number in range(400)])
    encoding = fit_encoding(table)
    (feature,) = [one for one in encoding.categories if one.name == "method"]
    assert (MAX_LEVELS, 20, 160) == (len(feature.levels), feature.folded, feature.folded_calls)
    assert 200.0 == sum(column(table, encoding, "method = (other)"))


def test_rare_levels_share_a_column() -> None:
    table = table_of(
        [browse(number, method="ODD" if number == 1 else "POST" if number % 2 else "GET") for number in range(5_000)]
    )
    (feature,) = [one for one in fit_encoding(table).categories if one.name == "method"]
    assert (("GET", "POST"), 1) == (feature.levels, feature.folded)


def test_a_level_that_only_the_test_part_has_is_all_zeros() -> None:
    table = table_of([*shop(8), browse(8, method="NEW"), browse(9, method="NEW")])
    encoding = fit_encoding(table)
    assert [0.0, 0.0] == [column(table, encoding, f"method = {name}")[-1] for name in ("GET", "POST")]


def test_an_attacker_can_name_a_level_as_the_shared_column_is_named() -> None:
    table = table_of([browse(number, workload="(other)" if number % 2 else "shop/cart") for number in range(20)])
    encoding = fit_encoding(table)
    assert 10.0 == sum(column(table, encoding, "destination = (other)"))


@pytest.mark.parametrize(("sizes", "log"), [([1, 2, 4, 8, 10**6] * 4, True), ([10, 20, 30, 40, 50] * 4, False)])
def test_skewed_amounts_are_logarithms_and_all_have_mean_0_and_deviation_1(sizes: list[int], log: bool) -> None:
    table = table_of([browse(number, resp_size=size) for number, size in enumerate(sizes)])
    encoding = fit_encoding(table)
    (feature,) = [one for one in encoding.amounts if one.name == "response_bytes"]
    values = np.array(column(table, encoding, "response_bytes"))[: table.train]
    assert log == feature.log
    assert (0.0, 1.0) == pytest.approx((values.mean(), values.std()))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resp_size": None}, ["response_bytes is missing"]),
        ({"resp_size": None, "duration_ms": None}, ["response_bytes is missing"]),
        ({"resp_size": None, "duration_ms": None, "status": None}, []),
    ],
)
def test_that_an_amount_is_missing_is_said_once(changes: dict[str, Any], expected: list[str]) -> None:
    records = [browse(number, **(changes if number % 4 == 0 else {})) for number in range(40)]
    assert expected == [name for name in fit_encoding(table_of(records)).names if name.endswith("is missing")]


def test_a_missing_amount_is_the_median_of_the_training_part() -> None:
    table = table_of([browse(number, resp_size=size) for number, size in enumerate([10, 20, 30, None, 40, 50])])
    encoding = fit_encoding(table)
    (feature,) = [one for one in encoding.amounts if one.name == "response_bytes"]
    assert (25.0, 1) == (feature.fill, feature.missing)
    assert (25.0 - feature.centre) / feature.scale == pytest.approx(column(table, encoding, "response_bytes")[3])


def test_without_outcomes_what_only_they_tell_is_dropped() -> None:
    records = [one(number, status=None, resp_size=None, duration_ms=None) for number in range(9) for one in (browse, order)]
    dropped = reasons(fit_encoding(table_of(records)))
    assert ("always `unknown`", "not known of any call", "not known of any call") == tuple(
        dropped[name] for name in ("status", "response_bytes", "duration_ms")
    )


def test_nothing_is_learned_from_the_test_part() -> None:
    earlier = shop(80)
    first = fit_encoding(table_of([*earlier, *[browse(number) for number in range(80, 100)]]))
    second = fit_encoding(table_of([*earlier, *[order(number, body_size=10**9, method="X") for number in range(80, 100)]]))
    assert [one for one in first.amounts if one.name != "path_characters"] == [
        one for one in second.amounts if one.name != "path_characters"
    ]
