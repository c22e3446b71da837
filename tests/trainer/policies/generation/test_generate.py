"""From what was learned to policies: golden pairs, and what holds for whatever was learned."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz_server.bundle import write_bundle
from tests.factories_engine import model
from tests.trainer.policies.golden import CASES, FOLDER, description, produce
from trainer.description import encode_description
from trainer.policies.document import parse_documents
from trainer.policies.exceptions import Exceptions
from trainer.policies.generation.generate import Refused, generate, to_policies
from trainer.policies.generation.grants import MIN_CALLS, to_grants
from trainer.policies.generation.learned import to_learned
from trainer.policies.meaning.match import Request, decide
from trainer.policies.policy import DRY_RUN, from_object, to_object
from trainer.policies.validity.check import check
from trainer.policies.validity.crd import check_schema, read_crds

CRDS = Path(__file__).parents[5] / "shared" / "istio" / "crds"
SCHEMAS = read_crds(CRDS) if CRDS.is_dir() else {}
ROOT = Path(__file__).parents[4]
WEB = "cluster.local/ns/shop/sa/web"
CALLS = {"GET /items/{*}": {WEB: 5000}}


@pytest.mark.parametrize("case", CASES)
def test_what_was_learned_becomes_the_policy(case: str) -> None:
    file = FOLDER / f"{case}.out.yaml"
    produced = produce(case)
    if os.environ.get("REFRESH_GOLDEN"):
        file.write_text(produced)
    assert file.read_text() == produced


@pytest.mark.parametrize("case", CASES)
def test_every_golden_policy_would_be_accepted(case: str) -> None:
    for document in parse_documents((FOLDER / f"{case}.out.yaml").read_bytes(), case):
        assert check(document.object).errors == ()
        if SCHEMAS:
            assert check_schema(document.object, SCHEMAS) == []


def test_the_definitions_of_istio_are_there() -> None:
    if not SCHEMAS:
        pytest.skip(f"no CustomResourceDefinitions in {CRDS.name}/: golden and random policies were only held against check.py")


_segments = st.sampled_from(["a", "b", "users", "{*}", "", "x*", "{id}", "v1.2", "ü", "a b", "=", "@me"])
_templates = st.lists(_segments, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
_endpoints = st.tuples(st.sampled_from(["GET", "POST", "M-SEARCH"]), _templates).map(" ".join)
_principals = st.sampled_from(
    [f"{td}/ns/{ns}/sa/{sa}" for td in ("cluster.local", "o.x") for ns in ("a", "b") for sa in ("p", "q")]
)
_calls = st.dictionaries(_endpoints, st.dictionaries(_principals, st.integers(1, 2000), min_size=1, max_size=4), max_size=8)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_calls)
def test_a_policy_is_acceptable_and_covers_every_habit(calls: dict[str, dict[str, int]]) -> None:
    learned = to_learned(description({"GET /base": {WEB: 20_000}} | calls))
    granted = to_grants(learned)
    try:
        (policy,) = to_policies(learned, granted, Exceptions(), "r")
    except Refused:
        assert any(count == 1 for principals in calls.values() for count in principals.values())
        return
    document = to_object(policy)
    assert check(document).errors == ()
    assert (check_schema(document, SCHEMAS) if SCHEMAS else []) == []
    said = " ".join(granted.notes)
    for name, principals in calls.items():
        method, _, template = name.partition(" ")
        if f"{name}: a path" in said:
            continue
        path = template.replace("{*}", "17").replace("ü", "%C3%BC").replace(" ", "%20").replace("{id}", "%7Bid%7D")
        path = path.replace("=", "%3D").replace("*", "%2A")
        for principal, count in principals.items():
            request = Request(f"spiffe://{principal}", method, path)
            if count >= MIN_CALLS:
                shadow = decide([policy], request).shadow_allow
                assert shadow is not None
                assert shadow.allowed is True, (name, principal)


@settings(max_examples=100, deadline=None)
@given(_calls, _principals)
def test_a_caller_that_made_no_call_is_refused(calls: dict[str, dict[str, int]], stranger: str) -> None:
    others = {name: {who: 900 for who in principals if who != stranger} for name, principals in calls.items()}
    learned = to_learned(description({"GET /base": {WEB: 20_000}} | {name: one for name, one in others.items() if one}))
    (policy,) = to_policies(learned, to_grants(learned), Exceptions(), "r")
    for name in calls:
        method, _, template = name.partition(" ")
        shadow = decide([policy], Request(f"spiffe://{stranger}", method, template.replace("{*}", "17"))).shadow_allow
        assert shadow is not None
        assert shadow.allowed is False


def test_only_what_the_template_alone_was_learned_for_is_allowed() -> None:
    admin = "cluster.local/ns/ops/sa/admin"
    learned = to_learned(description({"GET /users/{*}": {WEB: 5000}, "GET /users/admin": {admin: 5000}}))
    (policy,) = to_policies(learned, to_grants(learned), Exceptions(), "r")

    def allowed(principal: str, path: str) -> bool | None:
        shadow = decide([policy], Request(f"spiffe://{principal}", "GET", path)).shadow_allow
        return shadow.allowed if shadow is not None else None

    pairs = [(WEB, "/users/7"), (WEB, "/users/admin"), (admin, "/users/7"), (admin, "/users/admin")]
    assert [allowed(*pair) for pair in pairs] == [True, False, False, True]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the directory in which the exceptions file that ships would be found."""
    monkeypatch.chdir(tmp_path)


def test_the_exceptions_file_of_the_directory_is_merged_and_never_written(tmp_path: Path) -> None:
    exceptions = tmp_path / "policies" / "exceptions.yaml"
    exceptions.parent.mkdir()
    exceptions.write_text("version: 1\nexceptions: [{name: probes, paths: [/healthz]}]\n")
    generate(publish(tmp_path / "b", {"shop/cart": CALLS}), str(tmp_path / "out"))
    assert "rule 0: probes" in (tmp_path / "out" / "shop.cart.yaml").read_text()
    assert exceptions.read_text() == "version: 1\nexceptions: [{name: probes, paths: [/healthz]}]\n"


def test_what_had_to_be_written_wider_loses_nothing_to_another_template() -> None:
    other = "cluster.local/ns/ops/sa/other"
    learned = to_learned(description({"GET /x*/{*}": {WEB: 5000}, "GET /{*}/b": {other: 5000}}))
    (policy,) = to_policies(learned, to_grants(learned), Exceptions(), "r")
    shadow = decide([policy], Request(f"spiffe://{WEB}", "GET", "/x%2A/b")).shadow_allow
    assert shadow is not None
    assert shadow.allowed is True


def publish(place: Path, workloads: dict[str, dict[str, dict[str, int]]], n: int = 1) -> str:
    models = [model(workload=name, n=n) for name in workloads]
    described = {name: encode_description(description(calls, name)) for name, calls in workloads.items()}
    write_bundle(place, models, 5.0, "k", described)
    return str(place)


def test_a_new_revision_that_learned_the_same_changes_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(publish(tmp_path / "b", {"shop/cart": CALLS}), str(out))
    before = (out / "shop.cart.yaml").read_bytes()
    again = publish(tmp_path / "b", {"shop/cart": {"GET /items/{*}": {WEB: 5100}}}, n=2)
    assert generate(again, str(out)).lines == ("shop/cart: unchanged in shop.cart.yaml",)
    assert (out / "shop.cart.yaml").read_bytes() == before
    more = publish(tmp_path / "b", {"shop/cart": {"GET /items/{*}": {WEB: 50_000}}}, n=3)
    generate(more, str(out))
    assert (out / "shop.cart.yaml").read_bytes() != before


def test_the_same_bundle_gives_the_same_bytes(tmp_path: Path) -> None:
    bundle = publish(tmp_path / "b", {"shop/cart": CALLS})
    for name in ("one", "two"):
        generate(bundle, str(tmp_path / name), custom="p")
    assert (tmp_path / "one" / "shop.cart.yaml").read_bytes() == (tmp_path / "two" / "shop.cart.yaml").read_bytes()


def test_a_promoted_policy_stays_promoted_when_its_rules_change(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(publish(tmp_path / "b", {"shop/cart": CALLS}), str(out))
    file = out / "shop.cart.yaml"
    file.write_text(file.read_text().replace(f'    {DRY_RUN}: "true"\n', ""))
    told = generate(publish(tmp_path / "b", {"shop/cart": CALLS | {"PUT /items": {WEB: 50}}}), str(out))
    (document,) = parse_documents(file.read_bytes(), "file")
    assert not from_object(document.object).dry_run
    assert "promoted, so what changed is enforced once applied" in told.lines[0]


def test_a_refused_workload_keeps_its_file_and_the_others_are_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "shop.cart.yaml").write_text("# of before\n")
    told = generate(publish(tmp_path / "b", {"shop/cart": {"GET /": {"": 5000}}, "shop/pay": CALLS}), str(out))
    assert told.refused == 1
    assert sorted(file.name for file in out.iterdir()) == ["shop.cart.yaml", "shop.pay.yaml"]
    assert (out / "shop.cart.yaml").read_text() == "# of before\n"


def test_workloads_with_the_same_labels_are_refused(tmp_path: Path) -> None:
    exceptions = tmp_path / "exceptions.yaml"
    exceptions.write_text("version: 1\nselectors: {shop/pay: {app: cart}}\n")
    bundle = publish(tmp_path / "b", {"shop/cart": CALLS, "shop/pay": CALLS, "bank/cart": CALLS})
    told = generate(bundle, str(tmp_path / "out"), exceptions)
    assert told.refused == 2
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["bank.cart.yaml"]


def test_an_object_that_is_too_large_is_refused(tmp_path: Path) -> None:
    calls: dict[str, Any] = {f"GET /{'x' * 60}/{'y' * 60}/n{i}": {WEB: 900} for i in range(1200)}
    told = generate(publish(tmp_path / "b", {"shop/cart": calls}), str(tmp_path / "out"))
    assert told.refused == 1
    assert "expected an object of at most 131,072 bytes" in told.lines[0]


def test_the_command_ends_with_1_where_a_workload_was_refused(tmp_path: Path) -> None:
    bundle = publish(tmp_path / "b", {"shop/cart": {"GET /": {"": 5000}}, "shop/pay": CALLS})
    command = [sys.executable, "-m", "trainer", "policies", "generate", "--bundle", bundle, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, b"shop/cart: refused: no caller had an identity" in done.stderr) == (1, True)
