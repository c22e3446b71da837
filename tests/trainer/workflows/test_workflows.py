"""Workflows for people: the graph of a model, and its three forms."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from authz_server.bundle import write_bundle
from authz_server.engine.edges import EdgeModel, Edges
from authz_server.engine.errors import BundleError, SettingError
from authz_server.engine.follow import Follow
from authz_server.engine.model import WorkloadModel
from authz_server.engine.sequence import START, PrecedenceRule, SequenceModel, Transition
from tests.factories_engine import model
from trainer.__main__ import app
from trainer.workflows.dot import to_dot
from trainer.workflows.export import Form, render, write
from trainer.workflows.graph import to_graph, to_journeys
from trainer.workflows.mermaid import to_mermaid

LIST, ADD, PAY, SHIP, ODD = "GET /items", "POST /cart", "POST /pay", "POST /ship", 'GET /x"]|\\y'
WEB = "td/ns/shop/sa/web"


def shop() -> WorkloadModel:
    return model(
        workload="shop/shop",
        sequence=SequenceModel(
            60.0,
            {
                SHIP: (PrecedenceRule(PAY, 3.0, 400, ADD), PrecedenceRule(ADD, 2.0, 400, implied=True)),
                ADD: (PrecedenceRule(LIST, 2.5, 800, ADD), PrecedenceRule(PAY, 2.0, 300, surplus=2)),
                PAY: (PrecedenceRule(ADD, 2.0, 500),),
            },
            {
                START: Transition(1000, {LIST: 900, ODD: 99, SHIP: 1}, 3.0),
                LIST: Transition(900, {ADD: 800, ODD: 1}, 3.0),
                ADD: Transition(800, {PAY: 500, ADD: 200}, 3.0),
                PAY: Transition(500, {SHIP: 400}, 3.0),
            },
        ),
        edges=EdgeModel(9, {WEB: 9}, 2.0, {SHIP: Edges(400, {WEB: 399, "": 1}, 2.0)}),
        follows={ADD: {"2xx": (Follow("shop/audit", "POST /records", 800, 3.0, (("shop/stock", "GET /stock"),)),)}},
    )


def test_rules_are_told_in_words_without_those_that_follow_from_others() -> None:
    assert [
        "POST /cart doesn't come again until GET /items came again",
        "POST /cart needs a POST /pay each time, and may come 2 times more",
        "POST /pay needs POST /cart before it",
        "POST /ship needs POST /pay since the last POST /cart",
    ] == [rule.text for rule in to_graph(shop()).rules]


def test_a_journey_has_what_is_usual_from_its_beginning_on() -> None:
    first, second = to_journeys(to_graph(shop()))
    assert (LIST, 900, {LIST, ADD, PAY}) == (first.begins, first.sessions, {step.before for step in first.steps})
    assert ODD not in {step.after for step in first.steps}
    assert (ODD, 99, ()) == (second.begins, second.sessions, second.steps)


def test_steps_have_counts_and_shares() -> None:
    step = next(one for one in to_graph(shop()).steps if (one.before, one.after) == (ADD, PAY))
    assert (500, 0.625) == (step.calls, step.share)


def test_mermaid_holds_nothing_that_a_path_could_break() -> None:
    text = to_mermaid(to_graph(shop()))
    assert '["GET /x#34;#93;#124;#92;y"]' in text
    assert 'n0(("begin"))' in text
    assert "- POST /ship needs POST /pay since the last POST /cart (400 steps)" in text
    assert f"- {WEB}: POST /ship (399)" in text
    assert "- POST /cart (2xx) with GET /stock at shop/stock: POST /records at shop/audit (800)" in text
    assert text.count("```") == 4


def test_dot_is_one_digraph_with_rules_as_tooltips() -> None:
    text = to_dot(to_graph(shop()))
    assert text.startswith('digraph "shop/shop" {')
    assert '"GET /x\\"]|\\\\y"' in text
    assert 'tooltip="POST /ship needs POST /pay since the last POST /cart"' in text
    assert '"POST /cart" -> "POST /pay" [label="500", penwidth=3.7];' in text
    assert 'style=dashed, label="2xx with GET /stock at shop/stock"' in text
    assert text.count("{") == text.count("}")


def test_the_command_writes_one_file_a_workload_or_prints(tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "bundle"), [shop()], 1.0, "key")
    runner = CliRunner()
    printed = runner.invoke(app, ["workflows", "--bundle", str(tmp_path / "bundle"), "--format", "json"])
    found = json.loads(printed.stdout)
    assert ("shop/shop", LIST) == (found["workload"], found["journeys"][0]["begins"])
    made = runner.invoke(app, ["workflows", "--bundle", str(tmp_path / "bundle"), "--out", str(tmp_path / "out")])
    assert (0, ["shop.shop.md"]) == (made.exit_code, [path.name for path in (tmp_path / "out").iterdir()])


def test_the_same_bundle_gives_the_same_files(tmp_path: Path) -> None:
    write_bundle(str(tmp_path), [shop()], 1.0, "key")
    for form in Form:
        assert render(str(tmp_path), form) == render(str(tmp_path), form)


def test_a_workload_that_the_bundle_has_not_is_told(tmp_path: Path) -> None:
    write_bundle(str(tmp_path), [shop()], 1.0, "key")
    with pytest.raises(SettingError, match="expected one of shop/shop, got 'x'"):
        render(str(tmp_path), Form.DOT, "x")


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="expected a directory that can be written"):
        write({"a.md": ""}, tmp_path / "file")


def test_a_bundle_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle published by"):
        render(str(tmp_path), Form.JSON)
