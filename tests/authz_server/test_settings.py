from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.policy import Mode
from authz_server.settings import READERS, Settings, read_settings, setting_names, to_flag, to_public

GOOD = [
    ("listen", "127.0.0.1:0", "127.0.0.1:0"),
    ("listen", "[::1]:9191", "[::1]:9191"),
    ("listen", "authz.mesh.svc:9191", "authz.mesh.svc:9191"),
    ("listen", "unix:/run/authz.sock", "unix:/run/authz.sock"),
    ("listen", "unix:" + "a" * 107, "unix:" + "a" * 107),
    ("admin", "", None),
    ("bundle", "", None),
    ("bundle", "s3://bucket/prefix", "s3://bucket/prefix"),
    ("bundle", "/nowhere/yet", "/nowhere/yet"),
    ("policy", "", None),
    ("mode", "", None),
    ("mode", "off", Mode.OFF),
    ("mode", "dry_run", Mode.DRY_RUN),
    ("mode", "enforce", Mode.ENFORCE),
    ("record", "memory://calls", "memory://calls"),
    ("record_max_bytes", "1MiB", 2**20),
    ("record_max_bytes", "2 gib", 2**31),
    ("record_max_bytes", "1048576", 2**20),
    ("decision_log", "-", "-"),
    ("decision_log", "", None),
    ("decision_log_sample", "0", 0.0),
    ("decision_log_sample", "1", 1.0),
    ("decision_log_sample", "1e-4", 1e-4),
    ("hash_key", "", ""),
    ("workloads", "", ()),
    ("workloads", "shop/cart, shop/pay,,shop/cart", ("shop/cart", "shop/pay")),
    ("history", "memory", "memory"),
    ("history", "redis://redis:6379/0", "redis://redis:6379/0"),
    ("history", "valkeys://mesh:p%40ss@cache", "valkeys://mesh:p%40ss@cache"),
    ("history", "unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
    ("history_timeout_ms", "20", 20.0),
    ("threads", "1", 1),
    ("threads", "256", 256),
    ("grace_seconds", "0", 0.0),
    ("tls_client_ca", "", None),
    ("max_message_bytes", "64KiB", 2**16),
    ("log_level", "debug", "debug"),
    ("watch_seconds", "0.05", 0.05),
]

BAD = [
    ("listen", ""),
    ("listen", "9191"),
    ("listen", "127.0.0.1"),
    ("listen", "127.0.0.1:65536"),
    ("listen", "127.0.0.1:http"),
    ("listen", "::1:9191"),
    ("listen", "unix:"),
    ("listen", "unix:" + "a" * 108),
    ("listen", "a b:1"),
    ("listen", "127.0.0.1:1\n"),
    ("admin", "unix:/x"),
    ("policy", "/nowhere/policy.yaml"),
    ("policy", "x" * 5000),
    ("bundle", "x" * 5000),
    ("mode", "enfroce"),
    ("mode", "ENFORCE"),
    ("record_max_bytes", "1048575"),
    ("record_max_bytes", "1.5MiB"),
    ("record_max_bytes", "1MB"),
    ("decision_log_sample", "-0.1"),
    ("decision_log_sample", "1.1"),
    ("decision_log_sample", "nan"),
    ("decision_log_sample", "half"),
    ("decision_log", "/"),
    ("hash_key", "secret\n"),
    ("workloads", "shop/cart shop/pay"),
    ("history", "disk"),
    ("history", "redis://"),
    ("history", "redis://cache/one"),
    ("history", "redis://cache:0"),
    ("history", "redis://a:b@c@cache"),
    ("history", "redis://cache?socket_timeout=60"),
    ("history", "http://cache"),
    ("history", "unix://"),
    ("history_timeout_ms", "0"),
    ("history_timeout_ms", "1001"),
    ("threads", "0"),
    ("threads", "257"),
    ("threads", "1.5"),
    ("grace_seconds", "-1"),
    ("grace_seconds", "inf"),
    ("tls_cert", "/nowhere/cert.pem"),
    ("max_message_bytes", "1KiB"),
    ("log_level", "trace"),
    ("watch_seconds", "0"),
    ("watch_seconds", "3601"),
]


def good(env: Mapping[str, str], flags: Mapping[str, str | None]) -> Settings:
    settings, problems = read_settings(env, flags)
    assert () == problems
    return settings


@pytest.mark.parametrize(("name", "text", "expected"), GOOD)
def test_a_good_value_is_read_from_the_environment(name: str, text: str, expected: object) -> None:
    assert expected == getattr(good({f"AUTHZ_{name.upper()}": text}, {}), name)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_refused_with_its_name(name: str, text: str) -> None:
    _, problems = read_settings({f"AUTHZ_{name.upper()}": text}, {})

    assert any(problem.startswith(f"AUTHZ_{name.upper()}: expected ") for problem in problems)


def test_without_anything_the_safe_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings(policy=None) == good({"HOME": "/", "PATH": "/bin"}, {})


def test_the_default_policy_is_used_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "enforcement.yaml").write_text("version: 1\n")

    assert Path("policies/enforcement.yaml") == good({}, {}).policy


def test_flags_win_over_the_environment_and_a_flag_not_given_does_not() -> None:
    env = {"AUTHZ_THREADS": "2", "AUTHZ_LOG_LEVEL": "error"}

    settings = good(env, {"threads": "3", "log_level": None})

    assert (settings.threads, settings.log_level) == (3, "error")


def test_every_problem_is_told_at_once_by_the_name_it_was_given_under() -> None:
    _, problems = read_settings(
        {"AUTHZ_MODE": "on", "AUTHZ_THREADS": "x", "AUTHZ_LISTN": "y"}, {"threads": "0", "watch_seconds": "no"}
    )

    assert list(problems) == [
        "AUTHZ_LISTN: expected a known setting, did you mean AUTHZ_LISTEN?",
        "AUTHZ_MODE: expected off, dry_run, enforce or nothing, got 'on'",
        "--threads: expected a whole number from 1 to 256, got '0'",
        "--watch-seconds: expected seconds from 0.05 to 3600, got 'no'",
    ]


def test_an_unknown_flag_is_a_problem() -> None:
    _, problems = read_settings({}, {"thread": "3"})

    assert problems == ("--thread: expected a known flag, did you mean --threads?",)


def test_variables_that_kubernetes_sets_for_services_are_not_ours() -> None:
    env = {
        "AUTHZ_SERVICE_HOST": "10.0.0.1",
        "AUTHZ_SERVICE_PORT": "9191",
        "AUTHZ_SERVICE_PORT_GRPC": "9191",
        "AUTHZ_PORT": "tcp://10.0.0.1:9191",
        "AUTHZ_PORT_9191_TCP": "tcp://10.0.0.1:9191",
        "AUTHZ_PORT_9191_TCP_ADDR": "10.0.0.1",
        "AUTHZ_SERVER_PORT_9191_TCP_PROTO": "tcp",
    }

    assert read_settings(env, {})[1] == ()
    assert "AUTHZ_PORT: expected a known setting" in read_settings({"AUTHZ_PORT": "9191"}, {})[1][0]


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:hunter2@redis:6379/x",
        "redis://user:hunt@er2@redis",
        "redis://user:hun/hunter2@redis",
        "redis://redis?password=hunter2",
        "redis://redis?username=me&password=hunter2&db=1",
    ],
)
def test_the_password_of_a_url_is_never_shown_however_wrong_the_url(text: str) -> None:
    _, problems = read_settings({}, {"history": text})

    assert len(problems) == 1
    assert "hunter2" not in problems[0]
    assert "er2@" not in problems[0]
    assert "***" in problems[0]


def test_the_password_of_the_history_is_not_public() -> None:
    settings = good({}, {"history": "redis://user:hunter2@redis:6379/0"})

    assert to_public(settings)["history"] == "redis://***@redis:6379/0"


def test_a_long_value_is_cut_and_a_secret_never_shown() -> None:
    _, problems = read_settings({"AUTHZ_LISTEN": "x" * 1000, "AUTHZ_HASH_KEY": "topsecret "}, {})

    assert len(problems[0]) < 200
    assert "topsecret" not in "".join(problems)


def test_a_wrong_value_leaves_the_default_so_that_the_rest_can_be_checked() -> None:
    settings, problems = read_settings({}, {"threads": "none", "grace_seconds": "3"})

    assert (Settings().threads, 3.0, 1) == (settings.threads, settings.grace_seconds, len(problems))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("tls_cert",), "tls_key"),
        (("tls_key",), "tls_cert"),
        (("tls_client_ca",), "tls_client_ca"),
    ],
)
def test_half_of_tls_is_a_problem(tmp_path: Path, given: tuple[str, ...], missing: str) -> None:
    file = tmp_path / "x.pem"
    file.touch()

    _, problems = read_settings({}, dict.fromkeys(given, str(file)))

    assert [missing] == [problem.partition(":")[0] for problem in problems]


def test_all_of_tls_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.touch()

    assert file == good({}, dict.fromkeys(("tls_cert", "tls_key", "tls_client_ca"), str(file))).tls_client_ca


def test_one_address_for_two_things_is_a_problem_unless_the_system_chooses() -> None:
    assert len(read_settings({}, {"listen": "127.0.0.1:9", "admin": "127.0.0.1:9"})[1]) == 1
    assert read_settings({}, {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"})[1] == ()


def test_a_file_is_no_place_for_recordings(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert [
        p.partition(":")[0] for p in sorted(read_settings({}, {"record": str(file), "bundle": str(file)})[1], reverse=True)
    ] == ["--record", "--bundle"]


def test_what_is_shown_hides_secrets_and_credentials() -> None:
    shown = to_public(Settings(hash_key="topsecret", record="s3://me:pw@bucket/x", workloads=("a/b",), mode=Mode.OFF))

    assert tuple(shown[name] for name in ("hash_key", "record", "workloads", "mode")) == (
        "***",
        "s3://***@bucket/x",
        ["a/b"],
        "off",
    )
    assert list(setting_names()) == list(shown)
    assert to_public(Settings())["hash_key"] == ""


def test_every_field_has_a_reader_and_a_flag() -> None:
    assert {field.name for field in fields(Settings)} == set(READERS)
    assert to_flag("decision_log_sample") == "--decision-log-sample"


@given(st.dictionaries(st.sampled_from(sorted(READERS)), st.text(max_size=40)))
def test_any_values_give_settings_or_problems(flags: dict[str, str]) -> None:
    settings, problems = read_settings({}, flags)

    assert isinstance(settings, Settings)
    assert all(len(problem) < 300 for problem in problems)
