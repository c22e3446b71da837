"""An evaluation as people and programs read it."""

import msgspec
import pytest

from trainer.evaluate import Evaluation, wilson
from trainer.evaluation_report import to_json, to_text

ATTACKS = {"sqli": wilson(90, 100), "xss": wilson(0, 30)}
EVALUATION = Evaluation("r-1", 1e-3, wilson(90, 130), wilson(1, 1_000), wilson(1, 70), 0.987654, ATTACKS, {}, 0)


def test_every_rate_has_its_row_with_counts_and_interval() -> None:
    lines = to_text(EVALUATION).splitlines()
    (sqli,) = [line for line in lines if "sqli" in line]
    assert ["sqli", "90", "100", "90.000%", "82.563%", "to", "94.477%"] == sqli.split()
    assert "area under the curve: 0.98765" in lines


@pytest.mark.parametrize(
    ("name", "few"), [("attacks", False), ("sqli", False), ("xss", True), ("benign", False), ("distinct", True)]
)
def test_rates_of_few_calls_are_marked_and_the_mark_explained(name: str, *, few: bool) -> None:
    text = to_text(EVALUATION)
    (row,) = [line for line in text.splitlines() if f" {name}" in line]
    assert few == ("*" in row)
    assert "* fewer than 100 calls: look at the interval" in text


def test_on_a_narrow_terminal_every_line_fits() -> None:
    text = to_text(EVALUATION, 60)
    assert max(len(line) for line in text.splitlines()) <= 60
    assert all(name in text for name in EVALUATION.attacks)


def test_where_every_rate_rests_on_enough_nothing_is_marked() -> None:
    many = msgspec.structs.replace(EVALUATION, attacks={}, distinct_false_positives=wilson(0, 0))
    assert "*" not in to_text(many)


def test_an_attack_is_named_as_its_label_says() -> None:
    assert "  [/b] " in to_text(msgspec.structs.replace(EVALUATION, attacks={"[/b]": wilson(1, 2)}))


def test_programs_get_the_figures() -> None:
    found = msgspec.json.decode(to_json(EVALUATION))
    assert (130, 0.0, None) == (found["true_positives"]["n"], found["attacks"]["xss"]["rate"], found.get("few"))
