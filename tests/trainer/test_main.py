import subprocess
import sys
from pathlib import Path

import pytest

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
