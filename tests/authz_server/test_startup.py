import sys
from pathlib import Path

import pytest

from authz_server.bundle import write_bundle
from authz_server.engine.errors import MeshwardenError
from authz_server.engine.observe import Observer
from authz_server.settings import Settings
from authz_server.startup import describe, load_parts, notes, unusable
from tests.factories_shell import workload_model

POLICY = """
version: 1
workloads:
  shop/cart:
    mode: enforce
    endpoints: {"GET /cart": {mode: dry_run}, "GET /gone": {mode: off}}
  shop/new: {budget: 0.01}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "policy.yaml").write_text(POLICY)
    write_bundle(tmp_path / "bundle", [workload_model("shop/cart"), workload_model("shop/pay")], 0.0, Observer("k").key_id)
    return Settings(
        policy=tmp_path / "policy.yaml", bundle=str(tmp_path / "bundle"), hash_key="k", workloads=("shop/cart", "x/y")
    )


def test_every_problem_of_policy_and_bundle_is_told(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "policy.yaml").write_text("version: 2\nx: 1")

    with pytest.raises(MeshwardenError) as refused:
        load_parts(Settings(policy=settings.policy, bundle=settings.bundle, hash_key="other"))

    assert 3 == len(refused.value.problems)
    assert "hash key" in refused.value.problems[-1]


def test_what_would_run_is_told_with_what_is_probably_not_meant(settings: Settings) -> None:
    text = describe(settings, load_parts(settings))

    assert "2,000 calls, 2 workloads" in text
    assert f"hash key  id {Observer('k').key_id}\n" in text
    assert ["shop/cart", "enforce", "0.001", "1,000", "2", "2", "endpoints", "set", "apart"] in [
        line.split() for line in text.splitlines()
    ]
    assert ["shop/new", "dry_run", "0.01", "no", "model"] in [line.split() for line in text.splitlines()]
    assert "GET /gone of shop/cart, which the bundle doesn't know" in text
    assert "no model of x/y" in text
    assert "shop/pay" not in text


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"hash_key": ""}, "no hash key"),
        ({"listen": "0.0.0.0:9191"}, "without TLS"),
        ({"bundle": None}, "nothing is learned"),
    ],
)
def test_a_risky_setting_is_noted(changes: dict[str, object], note: str) -> None:
    settings = Settings(**{"policy": None, "hash_key": "k", "bundle": None, **changes})  # type: ignore[arg-type]
    parts = load_parts(settings)

    assert any(note in said for said in notes(settings, parts.policy.current, parts.bundle.current))


def test_places_that_serve_could_not_use_are_told_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "pem").write_text("no certificate")
    wrong = Settings(
        policy=None,
        record=str(tmp_path / "file/calls"),
        decision_log=str(tmp_path / "file/log"),
        tls_cert=tmp_path / "pem",
        tls_key=tmp_path / "pem",
    )

    told = list(unusable(wrong))

    assert ["record", "decision_log", "tls_cert, tls_key, tls_client_ca"] == [problem.split(":")[0] for problem in told]
    assert f"{tmp_path}/file is a file" in told[0]
    right = Settings(policy=None, record=str(tmp_path / "new/calls"), decision_log=str(tmp_path / "log"))
    assert [] == list(unusable(right))
    assert {"file", "pem"} == {path.name for path in tmp_path.iterdir()}


def test_a_spool_is_looked_at_where_records_are_uploaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    told = list(unusable(Settings(policy=None, record="memory://calls", record_spool=tmp_path / "file/spool")))

    assert [True] == [problem.startswith("record_spool: ") for problem in told]


def test_a_place_or_history_whose_package_is_missing_is_told_before_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    told = list(unusable(Settings(policy=None, record="nowhere://calls", history="redis://cache/0")))

    assert ["nowhere", "history"] == [problem.split(":")[0] for problem in told]
    assert "pip install 'meshwarden[redis]'" in told[1]


def test_one_workload_is_told_in_the_singular(tmp_path: Path) -> None:
    write_bundle(tmp_path, [workload_model("shop/cart")], 0.0, Observer("k").key_id)
    settings = Settings(policy=None, bundle=str(tmp_path), hash_key="k")

    assert "1,000 calls, 1 workload\n" in describe(settings, load_parts(settings))


def test_what_would_run_hides_the_credentials_of_places() -> None:
    settings = Settings(policy=None, history="redis://user:secret@cache/0", record="s3://key:secret@bucket/calls")

    text = describe(settings, load_parts(settings))

    assert "history   redis://***@cache/0" in text
    assert "secret" not in text
