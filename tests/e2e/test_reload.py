"""Policy and bundle change under load: nothing is lost, the change takes effect, and a bad one changes nothing."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import msgspec
import pytest

from authz_server.bundle import load_bundle, write_bundle
from authz_server.engine.observe import Observer
from demo.processes import ROOT
from tests.e2e.parts import HASH_KEY, SHOP, AuthzServer, Proxy, check_request, environment, eventually, policy
from tests.e2e.traffic import ODD, Step, browse, new_session

KEY_ID = Observer(HASH_KEY).key_id
THREADS = 4
BEFORE, AFTER = 120, 120
"""Calls before the change, and once it is in force."""


class Seen(NamedTuple):
    """The statuses that each thread got, in order."""

    threads: list[list[int]]

    def __len__(self) -> int:
        return sum(len(statuses) for statuses in self.threads)


@contextmanager
def load(proxy: Proxy, step: Step) -> Iterator[Seen]:
    """Call as fast as may be, each time as somebody else, until the end of the block."""
    seen = Seen([[] for _ in range(THREADS)])
    ended = Event()

    def call(statuses: list[int]) -> None:
        with proxy.client() as client:
            while not ended.is_set():
                client.session = new_session()  # one caller's pace, and a step after itself, would be odd soon
                statuses.append(client.take(step).status)

    threads = [Thread(target=call, args=(statuses,)) for statuses in seen.threads]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def change_under_load(seen: Seen, change: Callable[[], object], in_force: Callable[[], bool]) -> None:
    eventually(lambda: len(seen) >= BEFORE, 20)
    change()
    eventually(in_force)
    sofar = len(seen)
    eventually(lambda: len(seen) >= sofar + AFTER, 20)


@pytest.fixture
def own_bundle(tmp_path: Path, bundle: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(bundle, tmp_path / "bundle")


def other_bundle(place: Path) -> str:
    """Publish another revision: `POST /ship` isn't known there. Return it."""
    models = load_bundle(place, KEY_ID).models
    shop = models[SHOP].model
    endpoints = {name: profile for name, profile in shop.endpoints.items() if name != "POST /ship"}
    changed = msgspec.structs.replace(shop, endpoints=endpoints)
    return write_bundle(place, [changed, *(ready.model for name, ready in models.items() if name != SHOP)], 1.0, KEY_ID).revision


def revision(server: AuthzServer) -> str:
    return str(server.get("/config").json["bundle"]["revision"])


def mode(server: AuthzServer) -> str:
    return str(server.get("/config").json["policy"]["defaults"]["mode"])


def test_a_policy_changed_under_load_takes_effect_and_costs_no_call(
    tmp_path: Path, make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server("enforce")
    proxy = make_proxy(server.listen)
    with load(proxy, ODD) as seen:
        change_under_load(seen, lambda: policy(tmp_path / "enforcement.yaml", "dry_run"), lambda: mode(server) == "dry_run")
    for statuses in seen.threads:
        refused = statuses.count(403)
        assert statuses == [403] * refused + [200] * (len(statuses) - refused)
        assert 0 < refused < len(statuses)
    assert (proxy.stat("error"), server.metric("authz_errors_total")) == (0, 0)
    assert server.metric("authz_decisions_total", verdict="deny") == len(seen) >= BEFORE + AFTER


def test_a_bundle_changed_under_load_takes_effect_and_costs_no_call(
    own_bundle: Path, make_server: Callable[..., AuthzServer], make_proxy: Callable[..., Proxy]
) -> None:
    server = make_server(settings={"bundle": own_bundle})
    proxy = make_proxy(server.listen)
    old, published = revision(server), list[str]()
    with load(proxy, browse()) as seen:
        change_under_load(seen, lambda: published.append(other_bundle(own_bundle)), lambda: [revision(server)] == published)
    assert {status for statuses in seen.threads for status in statuses} == {200}
    assert (proxy.stat("error"), server.metric("authz_errors_total")) == (0, 0)
    eventually(lambda: len(server.decided()) == len(seen))
    revisions = [decision["revision"] for decision in server.decided()]
    assert set(revisions) == {old, *published}
    assert server.metric("authz_bundle_info", revision=published[0]) == 1
    shipped = eventually(lambda: proxy.call("POST", "/ship", {"express": True}))
    assert server.decision(shipped.decision_id)["findings"][0]["code"] == "unknown_endpoint"


def damaged_model(place: Path) -> str:
    other = other_bundle(place)
    next((place / "revisions" / other / "workloads").glob("shop-shop-*")).write_text("{}")
    return other


def half_copied(place: Path) -> str:
    other = other_bundle(place)
    (place / "revisions" / other / "manifest.json").unlink()
    return other


def not_there(place: Path) -> str:
    other = other_bundle(place)
    shutil.rmtree(place / "revisions" / other)
    return other


@pytest.mark.parametrize("spoil", [damaged_model, half_copied, not_there])
def test_a_bad_bundle_keeps_the_old_one_in_force_and_is_told(
    spoil: Callable[[Path], str], tmp_path: Path, own_bundle: Path, make_server: Callable[..., AuthzServer]
) -> None:
    bad = shutil.copytree(own_bundle, tmp_path / "bad")
    server = make_server(settings={"bundle": own_bundle})
    old = revision(server)
    assert server.get("/config").json["bundle_problem"] == ""

    other = spoil(bad)
    shutil.copytree(bad / "revisions", own_bundle / "revisions", dirs_exist_ok=True)
    (own_bundle / "current").write_text(other)
    problem = eventually(lambda: server.get("/config").json["bundle_problem"])
    assert str(own_bundle) in problem
    assert (revision(server), server.metric("authz_bundle_info", revision=old)) == (old, 1)
    assert server.metric("authz_bundle_load_failures_total") >= 1
    assert server.get("/readyz").status == 200
    eventually(lambda: "bundle_refused" in server.process.log.read_text())

    (own_bundle / "current").write_text(old)
    published = other_bundle(own_bundle)
    eventually(lambda: revision(server) == published == other)
    assert server.get("/config").json["bundle_problem"] == ""


def test_a_bundle_learned_under_another_key_refuses_nobody(own_bundle: Path, make_server: Callable[..., AuthzServer]) -> None:
    """Under it every value would look new; the server goes on with what it has, and one that starts with it doesn't start."""
    server = make_server("enforce", settings={"bundle": own_bundle})
    old, other = revision(server), Observer("another key").key_id
    models = [ready.model for ready in load_bundle(own_bundle, KEY_ID).models.values()]

    write_bundle(own_bundle, models, 2.0, other)

    problem = eventually(lambda: server.get("/config").json["bundle_problem"])
    assert f"(key id {KEY_ID}), got one under key id {other}: " in problem
    with server.stub() as stub:
        answer = stub.Check(check_request(), timeout=5)
    assert (answer.status.code, answer.dynamic_metadata["revision"]) == (0, old)
    server.stop()
    for command in ("serve", "check"):
        started = [command if word == "serve" else word for word in server.command()]
        ended = subprocess.run(started, capture_output=True, text=True, timeout=20, env=environment(), cwd=ROOT, check=False)
        assert (ended.returncode, ended.stdout, problem in ended.stderr) == (2, "", True)


def test_a_bundle_that_vanishes_stays_in_force_and_is_told(own_bundle: Path, make_server: Callable[..., AuthzServer]) -> None:
    server = make_server(settings={"bundle": own_bundle})
    old = revision(server)
    shutil.rmtree(own_bundle)
    assert str(own_bundle) in eventually(lambda: server.get("/config").json["bundle_problem"])
    assert (revision(server), server.metric("authz_bundle_info", revision=old)) == (old, 1)


def test_a_bad_policy_keeps_the_old_one_in_force_and_is_told(tmp_path: Path, make_server: Callable[..., AuthzServer]) -> None:
    server = make_server("enforce")
    path = tmp_path / "enforcement.yaml"
    path.write_text("version: 1\ndefaults: {mode: dry-run, budgets: 0.1}\n")
    problem = eventually(lambda: server.get("/config").json["policy_problem"])
    assert "defaults.mode" in problem
    assert "defaults.budgets" in problem
    assert mode(server) == "enforce"
    assert server.metric("authz_policy_load_failures_total") == 1

    policy(path, "dry_run")
    eventually(lambda: mode(server) == "dry_run")
    assert server.get("/config").json["policy_problem"] == ""
