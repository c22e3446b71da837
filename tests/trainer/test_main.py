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
