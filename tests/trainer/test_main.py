import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from authz_server.engine.observe import Observer
from trainer.store import read_calls


def run(*arguments: str, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "trainer", *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=environment, timeout=60, check=False)


def test_import_reads_standard_input_and_settings_from_the_environment(tmp_path: Path) -> None:
    done = run("import", "-", "--format", "calls", given=b'{"method":"GET","path":"/a"}\n', TRAINER_STORE=str(tmp_path))
    assert (0, b"imported 1 calls") == (done.returncode, done.stderr[:16])
    assert ["/a"] == [call.path for call in read_calls(str(tmp_path))]


def test_flag_overrides_the_environment(tmp_path: Path) -> None:
    store = str(tmp_path / "flag")
    arguments = ("import", "-", "--format", "calls", "--store", store)
    done = run(*arguments, given=b'{"method":"GET","path":"/a"}', TRAINER_STORE=str(tmp_path / "environment"))
    assert 0 == done.returncode
    assert ["flag"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"{", [b"error: -, line 1: expected a call as a JSON object", b"error: 0 calls before it were imported"]),
    ],
)
def test_expected_errors_are_one_line_a_problem_and_code_2(tmp_path: Path, given: bytes, expected: list[bytes]) -> None:
    done = run("import", "-", "--format", "calls", "--store", str(tmp_path), given=given)
    assert 2 == done.returncode
    lines = done.stderr.splitlines()
    assert [True] * len(lines) == [line.startswith(start) for line, start in zip(lines, expected, strict=True)]


def test_a_misspelt_variable_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    done = run("train", "--store", str(tmp_path), "--out", str(tmp_path / "bundle"), TRAINER_HASH_KYE="secret", TRAINER_CRDS="x")

    assert (2, b"error: TRAINER_HASH_KYE: expected a known setting, did you mean TRAINER_HASH_KEY?\n") == (
        done.returncode,
        done.stderr,
    )


def test_what_kubernetes_sets_for_a_service_named_trainer_is_no_misspelling(tmp_path: Path) -> None:
    done = run(
        "import",
        "-",
        "--format=calls",
        "--store",
        str(tmp_path),
        given=b'{"method":"GET","path":"/a"}\n',
        TRAINER_PORT="tcp://10.0.0.1:80",
        TRAINER_SERVICE_HOST="10.0.0.1",
    )

    assert 0 == done.returncode


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("joblib", "trainer", ["train", "--store", "calls", "--out", "bundle"]),
        ("sklearn", "trainer", ["evaluate", "--bundle", "bundle", "--calls", "calls.jsonl"]),
        ("kubernetes", "trainer", ["policies", "diff", "--policies", "mesh"]),
        ("zstandard", "trainer", ["import", "calls.zst", "--format", "calls", "--store", "calls"]),
    ],
)
def test_a_package_of_an_extra_that_is_missing_is_told_in_one_line(
    tmp_path: Path, package: str, extra: str, arguments: list[str]
) -> None:
    (tmp_path / "calls.zst").write_bytes(b"")
    code = f"import sys; sys.modules[{package!r}] = None; from trainer.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}

    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, timeout=60, check=False)

    expected = f"error: expected the package `{package}`: pip install 'meshwarden[{extra}]'\n"
    assert (2, expected) == (done.returncode, done.stderr.decode())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_stopped_tells_what_is_in_the_store(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "trainer", "import", "-", "--format", "calls", "--store", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={}) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(b'{"method":"GET","path":"/a"}\n' * 60_000)  # more than a pipe and the reader hold back
            process.stdin.flush()
            process.send_signal(number)
            said = process.communicate(timeout=30)[1].decode()
        finally:
            process.kill()

    kept = len(list(read_calls(str(tmp_path))))
    assert kept > 0
    assert (128 + number, f"stopped; imported before it: {kept:,} calls into {tmp_path}\n") == (process.returncode, said)


def calls_of(target: str) -> bytes:
    """60 calls that ended well."""
    rows = [
        {"ts": n, "method": "GET", "path": f"{target}?n={n % 9}", "dst": "a/b", "status": 200, "headers": {"cookie": "sid=x"}}
        for n in range(60)
    ]
    return b"\n".join(json.dumps(row).encode() for row in rows)


def test_a_changed_hash_key_is_told_at_every_step(tmp_path: Path) -> None:
    """A store of an old key, then of a new one too: what each command makes of it."""
    old, new, none = (Observer(key).key_id for key in ("old", "new", ""))
    place = {"TRAINER_STORE": str(tmp_path / "store"), "TRAINER_OUT": str(tmp_path / "bundle")}

    def said(*arguments: str, key: str = "", code: int = 0, given: bytes = b"") -> str:
        secret = {"TRAINER_HASH_KEY": key} if key else {}
        done = run(*arguments, given=given, **(place if arguments[0] != "evaluate" else {}), **secret)
        assert (code, arguments) == (done.returncode, arguments), done.stderr
        return done.stderr.decode()

    assert "also holds" not in said("import", "-", "--format", "calls", given=calls_of("/old"), key="old")
    refused = said("train", key="new", code=2)
    assert (1, True, True) == (refused.count("\n"), old in refused, new in refused)
    refused = said("train", code=2)
    assert (1, True) == (refused.count("\n"), f"key id {none}, which is no key at all" in refused)
    assert not (tmp_path / "bundle").exists()

    added = said("import", "-", "--format", "calls", given=calls_of("/new"), key="new")
    assert f"under key id {old}, and what is added now is under key id {new}" in added
    trained = said("train", key="new")
    assert f"only calls under key id {new} are read, left out: 1 segment" in trained
    assert "a/b: 60 calls at 1 endpoint\n" in trained
    refused = said("train", key="old", code=2)
    assert ["is this still the server's hash key?", "name another place, to the servers too"] == [
        line.rpartition(": ")[2] if line.endswith("?") else line.rpartition("changed, ")[2] for line in refused.splitlines()
    ]

    evaluate = ("evaluate", "--bundle", place["TRAINER_OUT"], "--store", place["TRAINER_STORE"])
    refused = said(*evaluate, key="old", code=2)
    assert (1, True, True) == (refused.count("\n"), old in refused, new in refused)
    assert f"only calls under key id {new} are read" in said(*evaluate, key="new")

    assert "only calls under key id" in said("callers")
    assert "" == run("workflows", "--bundle", place["TRAINER_OUT"]).stderr.decode()
