import subprocess
import sys
from pathlib import Path

import pytest

from authz_server.__main__ import main
from authz_server.settings import setting_names, to_flag

NOTHING = {"AUTHZ_POLICY": ""}


def test_check_of_what_is_right_tells_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["check", "--mode", "enforce"], NOTHING)
    assert "policy    built-in: enforce, budget 0.001" in capsys.readouterr().out


def test_check_tells_every_problem_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text("version: 2")
    (tmp_path / "manifest.json").write_text("{")
    arguments = ["check", "--listn", "x", "--mod=off", "stray", "--threads", "0"]

    code = main([*arguments, f"--policy={tmp_path / 'policy.yaml'}", "--bundle", str(tmp_path)], {"AUTHZ_FOO": "1"})

    lines = capsys.readouterr().err.splitlines()
    assert 2 == code
    assert "authz_server: 7 problems:" == lines[0]
    assert [
        "  --listn: expected a known flag, did you mean --listen?",
        "  --mod: expected a known flag, did you mean --mode?",
        "  expected flags only, got 'stray'",
        "  AUTHZ_FOO: expected a known setting",
        "  --threads: expected a whole number from 1 to 256, got '0'",
    ] == lines[1:6]
    assert "version: expected 1, got 2" in lines[6]
    assert "manifest.json: expected a manifest" in lines[7]


def test_serve_with_problems_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == main(["serve", "--threads", "0"], NOTHING)
    assert "--threads" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "check"])
def test_every_setting_has_a_flag_with_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"], {})

    text = capsys.readouterr().out
    assert 0 == ended.value.code
    assert all(to_flag(name) in text for name in setting_names())


@pytest.mark.parametrize("arguments", [[], ["run"], ["check", "--threads"]])
def test_a_command_that_cannot_be_understood_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, {})

    assert 2 == ended.value.code
    assert "usage" in capsys.readouterr().err


def test_settings_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["settings"], {"AUTHZ_NONSENSE": "1"})
    assert capsys.readouterr().out.startswith("| flag | variable |")


def test_the_module_runs_and_check_loads_neither_grpc_nor_the_trainer(tmp_path: Path) -> None:
    code = (
        "import sys; from authz_server.__main__ import main; code = main(['check'], {});"
        "assert not {'grpc', 'sklearn', 'typer', 'fsspec'} & set(sys.modules); sys.exit(code)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)


def test_a_reader_that_has_gone_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "authz_server", "settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        code = process.wait(timeout=30)

    assert (0, b"") == (code, said)
