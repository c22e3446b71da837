"""The table: templates, statistics, and a file that no spreadsheet runs."""

import csv
import io

import numpy as np
import pytest
from msgspec.structs import replace

from tests.trainer.study.traffic import browse, sampled, shop
from trainer.study.table import amounts_of, columns_of, shown, skewness, to_csv, to_table


def test_paths_are_templates_and_rare_ones_have_none() -> None:
    records = [*shop(12), replace(browse(98), segments=browse(7).segments[:1])]
    table = to_table(sampled(records).calls)
    assert {"/orders", "/items/{*}", "(other)"} == set(table.categories["path"])


@pytest.mark.parametrize(("calls", "train"), [(1, 1), (2, 2), (5, 4), (10, 8), (1_000, 800)])
def test_the_training_part_is_the_first_80_percent(calls: int, train: int) -> None:
    table = to_table(sampled(shop(calls)).calls)
    assert (calls, train) == (len(table), table.train)
    assert np.all(np.diff(table.ts) >= 0)


def test_amounts_are_described_without_the_missing_ones() -> None:
    table = to_table(sampled([browse(number, resp_size=size) for number, size in enumerate((10, None, 30, 20))]).calls)
    response = next(one for one in amounts_of(table) if one.name == "response_bytes")
    assert (3, 1, 10.0, 20.0, 30.0, 20.0) == (
        response.known,
        response.missing,
        response.low,
        response.median,
        response.high,
        response.mean,
    )


def test_an_amount_that_is_never_known_is_not_described() -> None:
    table = to_table(sampled([browse(number, resp_size=None) for number in range(3)]).calls)
    assert "response_bytes" not in [one.name for one in amounts_of(table)]
    assert (0, 3) == next((one.distinct, one.missing) for one in columns_of(table) if one.name == "response_bytes")


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0, 2.0, 3.0], 0.0), ([5.0] * 9, 0.0), ([0.1] * 3, 0.0), ([0.0, 0.0, 0.0, 4.0], 1.1547)]
)
def test_skewness(values: list[float], expected: float) -> None:
    assert expected == pytest.approx(skewness(np.array(values)), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("GET", "GET"), ("a\nb\x1b[31m", "a?b?[31m"), ("x" * 200, "x" * 79 + "…"), ("\ud800", "?"), ("käse", "käse")],
)
def test_names_are_shown_printable_and_cut(text: str, expected: str) -> None:
    assert expected == shown(text)


def test_the_file_has_a_row_a_call_and_no_formula() -> None:
    records = [*shop(4), replace(browse(9, resp_size=None), method="=HYPERLINK(1)", label=1, attack="@sum")]
    rows = list(csv.DictReader(io.StringIO(to_csv(to_table(sampled(records).calls), None, None).decode())))
    assert (5, "'=HYPERLINK(1)", "'@sum", "", "test") == (
        len(rows),
        rows[-1]["method"],
        rows[-1]["attack"],
        rows[-1]["response_bytes"],
        rows[-1]["part"],
    )


def test_places_and_clusters_are_in_the_file_where_there_are_any() -> None:
    table = to_table(sampled(shop(2)).calls)
    rows = list(csv.DictReader(io.StringIO(to_csv(table, np.array([[-1.5, 0.0], [2.0, 1.0]]), [0, 1]).decode())))
    assert [("-1.500000", "1"), ("2.000000", "2")] == [(row["component_1"], row["cluster"]) for row in rows]
