"""The command, from a bundle to files, reports and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from authz_server.bundle import write_bundle
from authz_server.engine.errors import BundleError, FormatError
from tests.factories_engine import OBSERVER
from tests.trainer.openapi.shop import document, learned
from trainer.description import encode_description
from trainer.openapi.export import Export, read_document, write_documents
from trainer.openapi.form import Form

KEY = "a hash key of the tests"


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    model, description, _ = learned()
    write_bundle(tmp_path / "bundle", [model], 5.0, OBSERVER.key_id, {model.workload: encode_description(description)})
    return str(tmp_path / "bundle")


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "trainer", "openapi", *arguments]
    return subprocess.run(command, capture_output=True, env={"TRAINER_HASH_KEY": KEY}, timeout=60, check=False)


@pytest.mark.parametrize("form", list(Form))
def test_a_workload_has_a_file_with_its_document(bundle: str, tmp_path: Path, form: Form) -> None:
    (name,) = write_documents(Export(bundle, OBSERVER), str(tmp_path / "out"), form)
    assert name.startswith("shop-cart-")
    written = yaml.safe_load((tmp_path / "out" / name).read_text())
    assert written["info"]["version"] != "unpublished"
    assert written["components"] == document()["components"]


def test_the_command_writes_and_compares(bundle: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert (run("--bundle", bundle, "--out", out).returncode, len(list((tmp_path / "out").iterdir()))) == (0, 1)
    same = run("--bundle", bundle, "--diff", out, "--exit-code")
    assert (same.returncode, same.stdout) == (0, b"no difference\n")
    old = next((tmp_path / "out").iterdir())
    old.write_text(old.read_text().replace("maximum: 12\n", "maximum: 11\n"))
    changed = run("--bundle", bundle, "--diff", str(old), "--exit-code", "--json")
    assert changed.returncode == 1
    assert [change["what"] for change in json.loads(changed.stdout)["diff"]] == ["body:/count"]
    against = run("--bundle", bundle, "--against", str(old))
    assert (against.returncode, against.stdout.splitlines()[0]) == (0, b"not as documented: 1")
    replaced = run("--bundle", bundle, "--out", out, "--diff", out, "--exit-code")
    assert (replaced.returncode, b"body:/count" in replaced.stdout) == (1, True)
    assert "maximum: 12\n" in old.read_text()


def test_another_hash_key_is_said_and_names_no_value(bundle: str, tmp_path: Path) -> None:
    done = run("--bundle", bundle, "--out", str(tmp_path / "out"), "--hash-key", "another")
    assert (done.returncode, done.stderr.splitlines()[0][:16]) == (0, b"the hash key isn")
    assert "enum:" not in next((tmp_path / "out").iterdir()).read_text()


PROBLEMS = [
    (["--bundle", "none", "--out", "x"], b"error: none: expected a bundle"),
    (["--bundle", "BUNDLE"], b"error: out: expected where to write"),
    (["--bundle", "BUNDLE", "--out", "x", "--workload", "y"], b"error: workload: expected one of shop/cart, got 'y'"),
    (["--bundle", "BUNDLE", "--against", "none.yaml"], b"error: none.yaml: expected an OpenAPI document"),
]


@pytest.mark.parametrize(("arguments", "expected"), PROBLEMS)
def test_problems_are_one_line_and_code_2(bundle: str, arguments: list[str], expected: bytes) -> None:
    done = run(*[bundle if argument == "BUNDLE" else argument for argument in arguments])
    assert (done.returncode, done.stderr[: len(expected)]) == (2, expected)


def test_a_damaged_description_is_refused(bundle: str) -> None:
    (file,) = Path(bundle).glob("revisions/*/workloads/*.description.json")
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(BundleError, match="damaged or half copied"):
        Export(bundle, OBSERVER)


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "{", "a: [", "\0", "openapi: !!python/object:os.system {}", "# A\n\n*b* c\n"])
def test_what_is_no_document_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_document(file)
    assert "\n" not in str(caught.value)
