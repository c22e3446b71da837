"""The commands that reach a cluster: flags, lines, exit codes, and Ctrl-C, against the stand-in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainer.policies.cluster.api_server import ApiServer
from tests.trainer.policies.cluster.pushed import policy
from trainer.__main__ import main
from trainer.policies.document import to_text

ROOT = Path(__file__).parents[4]
LIMIT = 60


def environment(api: ApiServer, directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRAINER_", "KUBE"))}
    return kept | {
        "TRAINER_KUBECONFIG": str(api.kubeconfig(directory)),
        "TRAINER_POLICIES": str(directory / "policies"),
        "TRAINER_AUDIT": str(directory / "audit.jsonl"),
        "PYTHONPATH": str(ROOT),
    }


class Run:
    """Runs a command in this process: starting one costs seconds. Gives its exit code and what it wrote."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def __call__(self, api: ApiServer, directory: Path, *arguments: str) -> tuple[int, str]:
        with self._patch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("TRAINER_", "KUBE"))]:
                patch.delenv(name)
            for name, value in environment(api, directory).items():
                patch.setenv(name, value)
            patch.chdir(directory)
            patch.setattr(sys, "argv", ["trainer", "policies", *arguments])
            try:
                code = main()
            except SystemExit as end:
                code = int(end.code or 0)
        written = self._capture.readouterr()
        return code, written.out + written.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "shop.cart.yaml").write_text(to_text([policy()]))
    (tmp_path / "policies" / "shop.pay.yaml").write_text(to_text([policy("pay", "pay")]))
    return tmp_path


def test_a_cluster_is_compared_pushed_to_and_rolled_back(run: Run, api: ApiServer, files: Path) -> None:
    code, said = run(api, files, "diff", "--context", "test", "--exit-code")
    assert (1, True) == (code, "shop/cart: missing" in said)
    code, said = run(api, files, "push", "--context", "test")
    assert (0, True) == (code, "2 created" in said)
    assert (0, True) == ((done := run(api, files, "diff", "--exit-code"))[0], "2 equal" in done[1])
    code, said = run(api, files, "rollback", "--list")
    assert (0, True) == (code, "shop 2: " in said and "push by ann: 2 policies" in said)
    code, said = run(api, files, "rollback")
    assert (0, True) == (code, "2 deleted" in said)
    assert {} == api.policies()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("push", "--context", "nowhere"), 2, "error: context: expected one of other, test, got 'nowhere'"),
        (("rollback", "--to", "1"), 2, "error: to: expected one --namespace with it"),
        (("rollback", "--namespace", "shop"), 2, "error: rollback: expected a namespace that was pushed to"),
        (("promote", "shop/cart"), 1, "shop/cart: stays a dry run: evidence: expected"),
        (("push", "--policies", "nowhere.yaml"), 2, "error: nowhere.yaml: expected a readable file"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    run: Run, api: ApiServer, files: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found, text = run(api, files, *arguments)
    assert (code, True) == (found, said in text), text
    assert "Traceback" not in text


def test_what_is_refused_ends_with_1(run: Run, api: ApiServer, files: Path) -> None:
    api.put(policy(paths=["/theirs"]), "argo")
    code, said = run(api, files, "push")
    assert (1, True) == (code, "argo owns .spec.rules" in said)
    assert "1 created, 1 refused" in said


def test_ctrl_c_finishes_the_workload_in_hand_and_leaves_the_others(run: Run, api: ApiServer, files: Path) -> None:
    api.when("patch authorizationpolicies shop/cart", "slow")
    pushing = subprocess.Popen(
        [sys.executable, "-m", "trainer", "policies", "push"],
        env=environment(api, files),
        cwd=files,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        ends = time.monotonic() + LIMIT
        while not any(one.line == "patch authorizationpolicies shop/cart" for one in api.asked) and time.monotonic() < ends:
            time.sleep(0.01)
        pushing.send_signal(signal.SIGINT)
        _, said = pushing.communicate(timeout=LIMIT)
    finally:
        pushing.kill()
        pushing.wait(LIMIT)
    assert 1 == pushing.returncode, said
    assert "stopping after this workload" in said
    assert "shop/cart: created" in said
    assert "shop/pay: not reached: stopped on request: push again to continue" in said
    assert ["shop/cart"] == list(api.policies())
    code, said = run(api, files, "push")
    assert (0, True) == (code, "1 created, 1 equal" in said)
