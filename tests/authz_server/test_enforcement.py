import logging
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.enforcement import MAX_BYTES, EnforcementFile, load_enforcement, parse_enforcement, to_public
from authz_server.engine.errors import PolicyError
from authz_server.engine.policy import DEFAULT_SESSION, Enforcement, Mode, Rule, SessionSource

SOURCES = "principal, address, {cookie: NAME}, {header: NAME} or {claim: NAME[, unverified: true]}"
FULL = b"""
version: 1
defaults:
  mode: off
  budget: 1e-4
  failure_mode_allow: false
  non_http_allow: false
  session: [{cookie: sid}, {header: X-User}, principal, address]
workloads:
  shop/cart:
    mode: enforce
    session: []
    endpoints:
      "POST /cart/{*}": {mode: dry_run, budget: 0.01}
      GET /: {mode: off}
  shop/pay:
"""


def problems_of(text: str | bytes) -> list[str]:
    with pytest.raises(PolicyError) as refused:
        parse_enforcement(text.encode() if isinstance(text, str) else text)
    return list(refused.value.problems)


def test_a_full_policy_is_read() -> None:
    enforcement = parse_enforcement(FULL)

    session = (
        SessionSource(cookie="sid"),
        SessionSource(header="x-user"),
        SessionSource(principal=True),
        SessionSource(address=True),
    )
    defaults = Rule(Mode.OFF, 1e-4, False, False, session)
    assert defaults == enforcement.defaults
    assert defaults == enforcement.workload("shop/pay") == enforcement.workload("other")
    cart = enforcement.workload("shop/cart")
    assert (cart.mode, cart.budget, cart.session) == (Mode.ENFORCE, 1e-4, ())
    assert (
        enforcement.endpoint("shop/cart", "POST /cart/{*}").mode,
        enforcement.endpoint("shop/cart", "POST /cart/{*}").budget,
    ) == (Mode.DRY_RUN, 0.01)
    assert Mode.OFF is enforcement.endpoint("shop/cart", "GET /").mode
    assert cart == enforcement.endpoint("shop/cart", "")


def test_only_the_version_is_needed() -> None:
    assert Rule() == parse_enforcement(b"version: 1").defaults
    assert Rule() == parse_enforcement(b"version: 1\ndefaults:\nworkloads:\n").defaults
    assert parse_enforcement(b"version: 1\ndefaults: {session: }").defaults.session == DEFAULT_SESSION


def test_the_mode_setting_overrides_the_default_and_nothing_else() -> None:
    enforcement = parse_enforcement(FULL, Mode.DRY_RUN)

    assert (
        enforcement.defaults.mode,
        enforcement.workload("shop/pay").mode,
        enforcement.workload("shop/cart").mode,
    ) == (Mode.DRY_RUN, Mode.DRY_RUN, Mode.ENFORCE)


def test_without_a_file_the_built_in_defaults_hold() -> None:
    assert Rule() == load_enforcement(None).defaults
    assert Mode.ENFORCE is load_enforcement(None, Mode.ENFORCE).defaults.mode


def test_the_policy_of_this_repository_is_valid_and_refuses_nothing() -> None:
    enforcement = load_enforcement(Path(__file__).parents[2] / "policies" / "enforcement.yaml")

    assert Rule() == enforcement.defaults


def in_workload(text: str) -> str:
    return f"version: 1\nworkloads: {{shop/cart: {{{text}}}}}"


CASES = {
    "": "version: expected 1, got nothing",
    "version: 2": "version: expected 1, got 2",
    "version: 0": "version: expected 1, got 0",
    "version: '1'": "version: expected 1, got '1'",
    "version: true": "version: expected 1, got true",
    "version: 1\ndefault: {}": "default: unknown key, did you mean defaults?",
    "version: 1\nxyz: {}": "xyz: unknown key, expected one of version, defaults, workloads",
    "version: 1\ndefaults: []": "defaults: expected a mapping, got a list",
    "version: 1\ndefaults: {endpoints: {}}": "defaults.endpoints: unknown key, expected one of mode, budget, failure_mode_allow, "
    "non_http_allow, session, quarantine",
    "version: 1\ndefaults: {quarantine: -1}": "defaults.quarantine: expected seconds from 0 to 86,400, got -1",
    "version: 1\ndefaults: {quarantine: yes}": "defaults.quarantine: expected seconds from 0 to 86,400, got 'yes'",
    "version: 1\nworkloads: [a]": "workloads: expected a mapping from namespace/name, got a list",
    "version: 1\nworkloads: {'a b': {}}": "workloads: expected namespace/name, at most 256 characters, got 'a b'",
    "version: 1\nworkloads: {'': {}}": "workloads: expected namespace/name, at most 256 characters, got ''",
    "version: 1\nworkloads: {a/b: 7}": "workloads.a/b: expected a mapping, got 7",
    in_workload("mode: enfroce"): "workloads.shop/cart.mode: expected off, dry_run or enforce, got 'enfroce'",
    in_workload("mode: false"): "workloads.shop/cart.mode: expected off, dry_run or enforce, got false",
    in_workload("mod: off"): "workloads.shop/cart.mod: unknown key, did you mean mode?",
    in_workload("budget: 0"): "workloads.shop/cart.budget: expected a share between 0 and 1, both excluded, got 0",
    in_workload("budget: 1"): "workloads.shop/cart.budget: expected a share between 0 and 1, both excluded, got 1",
    in_workload("budget: 1e999"): "workloads.shop/cart.budget: expected a share between 0 and 1, both excluded, got inf",
    in_workload("budget: true"): "workloads.shop/cart.budget: expected a share between 0 and 1, both excluded, got true",
    in_workload("budget: low"): "workloads.shop/cart.budget: expected a share between 0 and 1, both excluded, got 'low'",
    in_workload("failure_mode_allow: yes"): "workloads.shop/cart.failure_mode_allow: expected true or false, got 'yes'",
    in_workload("session: principal"): "workloads.shop/cart.session: expected a list of at most 8 sources, got 'principal'",
    in_workload("session: [ip]"): f"workloads.shop/cart.session[0]: expected {SOURCES}, got 'ip'",
    in_workload("session: [address, {cookie: 'a b'}]"): "workloads.shop/cart.session[1]: expected principal, address, "
    "{cookie: NAME}, {header: NAME} or {claim: NAME[, unverified: true]}, got a mapping",
    in_workload("session: [{cookie: a, header: b}]"): "workloads.shop/cart.session[0]: expected principal, address, "
    "{cookie: NAME}, {header: NAME} or {claim: NAME[, unverified: true]}, got a mapping",
    in_workload("endpoints: []"): "workloads.shop/cart.endpoints: expected a mapping, got a list",
    in_workload("endpoints: {/cart: {}}"): "workloads.shop/cart.endpoints./cart: expected METHOD /template, like POST /cart/{*}",
    in_workload("endpoints: {get /cart: {}}"): "workloads.shop/cart.endpoints.get /cart: expected METHOD /template, "
    "like POST /cart/{*}",
    in_workload("endpoints: {'GET /a/{id}': {}}"): "workloads.shop/cart.endpoints.GET /a/{id}: expected {*} as a whole segment, "
    "the only wildcard",
    in_workload(
        "endpoints: {GET /a: {session: []}}"
    ): "workloads.shop/cart.endpoints.GET /a.session: unknown key, expected one of mode, budget",
    in_workload(
        "endpoints: {GET /a: {mode: on}}"
    ): "workloads.shop/cart.endpoints.GET /a.mode: expected off, dry_run or enforce, got 'on'",
}


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_a_bad_policy_is_refused_with_the_path_to_what_is_wrong(text: str, expected: str) -> None:
    assert [expected] == problems_of(text)


def test_a_document_that_is_no_mapping_is_refused() -> None:
    assert problems_of("[]") == ["the document: expected a mapping, got a list", "version: expected 1, got nothing"]


def test_every_problem_is_told_at_once() -> None:
    text = "versoin: 1\ndefaults: {mode: x, mode: y, budget: 2}\nworkloads: {a/b: {session: [1, 2]}}"

    assert problems_of(text) == [
        "defaults.mode: line 2: expected each key once, got it again",
        "versoin: unknown key, did you mean version?",
        "version: expected 1, got nothing",
        "defaults.mode: expected off, dry_run or enforce, got 'y'",
        "defaults.budget: expected a share between 0 and 1, both excluded, got 2",
        f"workloads.a/b.session[0]: expected {SOURCES}, got 1",
        f"workloads.a/b.session[1]: expected {SOURCES}, got 2",
    ]


def test_limits_hold() -> None:
    assert f"expected at most {MAX_BYTES:,} bytes" in problems_of(b"#" * (MAX_BYTES + 1))[0]
    assert problems_of(in_workload(f"session: [{'address,' * 9}]")) == [
        "workloads.shop/cart.session: expected a list of at most 8 sources, got a list"
    ]
    assert len(problems_of(f"version: 1\nworkloads: {{{'x' * 257}: {{}}}}")) == 1


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"gone\.yaml: expected a readable file"):
        load_enforcement(tmp_path / "gone.yaml")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_policy_or_problems(data: bytes) -> None:
    try:
        enforcement = parse_enforcement(data)
    except PolicyError as error:
        enforcement = None
        problems = error.problems

    assert problems if enforcement is None else isinstance(enforcement, Enforcement)


def test_what_is_shown_is_what_was_set() -> None:
    shown = to_public(parse_enforcement(FULL))

    assert shown["defaults"]["mode"] == "off"  # type: ignore[index]
    assert (
        shown["workloads"]["shop/cart"]  # type: ignore[index]
    ) == {
        "mode": "enforce",
        "session": (),
        "endpoints": {"POST /cart/{*}": {"mode": "dry_run", "budget": 0.01}, "GET /": {"mode": "off"}},
    }


# --- the file, followed


def write(path: Path, mode: str) -> None:
    path.write_text(f"version: 1\ndefaults: {{mode: {mode}}}\n")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "enforcement.yaml"
    write(path, "off")
    return path


def follow(path: Path | None, **options: object) -> EnforcementFile:
    return EnforcementFile(path, settle_seconds=0.0, **options)  # type: ignore[arg-type]


def test_a_changed_file_replaces_the_policy_and_tells(policy: Path) -> None:
    told: list[Enforcement] = []
    file = follow(policy, on_change=told.append)
    before = file.current
    assert not file.poll()
    write(policy, "enforce")

    assert file.poll()

    assert Mode.OFF is before.defaults.mode
    assert Mode.ENFORCE is file.current.defaults.mode
    assert [file.current] == told
    assert not file.poll()


def test_the_same_size_within_the_same_clock_tick_is_noticed(policy: Path) -> None:
    write(policy, "dry_run")
    stat = policy.stat()
    file = follow(policy)
    write(policy, "enforce")
    os.utime(policy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len("dry_run") == len("enforce")

    assert file.poll()


def test_a_bad_file_keeps_the_old_policy_and_is_told_once(policy: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = follow(policy)
    policy.write_text("version: 1\ndefaults: {mode: x}")

    assert [file.poll() for _ in range(3)] == [False, False, False]

    assert Mode.OFF is file.current.defaults.mode
    assert "defaults.mode: expected off" in file.problem
    assert file.failures == 1
    assert [record.message for record in caplog.records] == ["policy_refused"]
    write(policy, "off")
    file.poll()
    assert (file.problem, [record.message for record in caplog.records]) == ("", ["policy_refused", "policy_accepted"])


def test_a_vanished_file_keeps_the_policy_until_it_is_back(policy: Path) -> None:
    file = follow(policy)
    policy.unlink()
    file.poll()
    assert "expected a readable file" in file.problem
    policy.write_text("[")
    file.poll()
    assert "expected YAML" in file.problem
    policy.unlink()
    file.poll()
    policy.write_text("[")
    file.poll()
    assert "expected YAML" in file.problem
    write(policy, "off")

    assert not file.poll()

    assert file.problem == ""
    assert Mode.OFF is file.current.defaults.mode


def test_a_configmap_swap_is_followed(tmp_path: Path) -> None:
    for version, mode in (("..1", "off"), ("..2", "enforce")):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "enforcement.yaml", mode)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "enforcement.yaml").symlink_to("..data/enforcement.yaml")
    file = follow(tmp_path / "enforcement.yaml")
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert file.poll()

    assert Mode.ENFORCE is file.current.defaults.mode


def test_a_file_that_is_being_written_waits_for_the_next_look(policy: Path) -> None:
    file = EnforcementFile(policy, settle_seconds=0.2)
    write(policy, "enforce")
    timer = threading.Timer(0.05, lambda: write(policy, "dry_run"))
    timer.start()

    assert not file.poll()
    timer.join()
    modes = [file.current.defaults.mode]
    assert file.poll()
    modes.append(file.current.defaults.mode)
    assert [Mode.OFF, Mode.DRY_RUN] == modes


def test_a_bad_file_stops_the_start(policy: Path) -> None:
    policy.write_text("version: 3")

    with pytest.raises(PolicyError, match=r"enforcement\.yaml: version: expected 1, got 3"):
        follow(policy)


def test_without_a_file_there_is_nothing_to_follow() -> None:
    file = follow(None, mode_override=Mode.ENFORCE)

    assert not file.poll()
    assert Mode.ENFORCE is file.current.defaults.mode


def test_readers_see_the_old_policy_or_the_new_one_while_it_is_swapped(policy: Path) -> None:
    file = follow(policy)
    seen: set[tuple[Mode, Mode]] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            current = file.current
            seen.add((current.defaults.mode, current.workload("a/b").mode))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(40):
        write(policy, ("enforce", "off")[i % 2])
        assert file.poll()
    stop.set()
    for reader in readers:
        reader.join()

    assert seen <= {(Mode.OFF, Mode.OFF), (Mode.ENFORCE, Mode.ENFORCE)}


def test_a_session_may_be_a_claim() -> None:
    policy = b"version: 1\ndefaults: {session: [{claim: sub}, {claim: realm.id, unverified: true}]}\n"
    expected = (SessionSource(claim="sub"), SessionSource(claim="realm.id", unverified=True))
    assert expected == parse_enforcement(policy).defaults.session


@pytest.mark.parametrize(
    "source", ["{claim: 7}", "{claim: ''}", "{claim: a b}", "{claim: sub, unverified: 1}", "{claim: a, x: y}"]
)
def test_a_claim_that_is_none_is_refused(source: str) -> None:
    (problem,) = problems_of(f"version: 1\ndefaults: {{session: [{source}]}}")
    assert problem.startswith("defaults.session[0]: expected principal, address")
