"""Policies as YAML: what is written is read as it was meant, by us and by kubectl."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.errors import PolicyError
from trainer.policies.document import as_policies, parse_documents, read_policies, to_text

TRAPS = [
    "1e3",
    "08",
    "y",
    "n",
    "null",
    "~",
    "on",
    "No",
    "true",
    "0o7",
    "0x1f",
    "1_000",
    "2026-11-01",
    "=",
    ".inf",
    "-",
    "a: b",
    "#",
    " x",
]
KUBECTL = Path(sys.executable).with_name("kubectl")


def test_texts_that_yaml_misreads_come_back_as_texts() -> None:
    document = {"kind": "X", "values": TRAPS, "keys": {trap: trap for trap in TRAPS}}
    (read,) = parse_documents(to_text([document]).encode(), "file")
    assert read.object == document
    assert yaml.safe_load(to_text([document])) == document


@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=40), max_size=4), min_size=1, max_size=3))
def test_whatever_is_written_is_read_again(contents: list[dict[str, str]]) -> None:
    documents = [{"kind": "X", "data": content} for content in contents]
    assert [one.object for one in parse_documents(to_text(documents, "a header\nof two lines").encode(), "file")] == documents


def test_kubectl_reads_names_as_texts(tmp_path: Path) -> None:
    if not KUBECTL.exists() and shutil.which("kubectl") is None:
        pytest.skip("kubectl isn't here")
    labels = {f"l{i}": trap for i, trap in enumerate(["1e3", "08", "y", "n", "null", "on", "0x1f", "1_000"])}
    written = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "1e3", "namespace": "08", "labels": {"y": "n", **labels}},
    }
    (tmp_path / "one.yaml").write_text(to_text([written]))
    (tmp_path / "kustomization.yaml").write_text("resources: [one.yaml]\n")
    command = [str(KUBECTL) if KUBECTL.exists() else "kubectl", "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert yaml.load(done.stdout, Loader=yaml.BaseLoader) == written
    assert json.loads(json.dumps(yaml.safe_load(to_text([written])))) == written


def test_documents_are_cut_at_their_markers_alone() -> None:
    data = b'---\nkind: A\ntext: "a --- b"\n--- # comment\nkind: B\n...\n---\n---\nkind: C\n'
    assert [one.object["kind"] for one in parse_documents(data, "file")] == ["A", "B", "C"]


def test_problems_name_document_and_line_of_the_file() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_documents(b"kind: A\n---\nkind: B\nkind: C\n---\n[1]\n", "file")
    assert caught.value.problems == (
        "file, document 2: kind: line 4: expected each key once, got it again",
        "file, document 3: expected a Kubernetes object with a `kind`, got '[1]'",
    )


def test_a_directory_is_read_without_our_own_files_and_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "enforcement.yaml").write_text("version: 1\n")
    (tmp_path / "a.yaml").write_text("kind: Service\n---\nkind: AuthorizationPolicy\n")
    (tmp_path / "b.yml").write_text("kind: List\nitems: [{kind: AuthorizationPolicy}, {kind: AuthorizationPolicy}]\n")
    (tmp_path / "README.md").write_text("no YAML: here: either")
    assert [Path(one.place).name for one in read_policies(tmp_path)] == [
        "a.yaml, document 2",
        "b.yml, items[0]",
        "b.yml, items[1]",
    ]


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("&a b")
    (tmp_path / "b.yaml").write_text("kind: [")
    with pytest.raises(PolicyError) as caught:
        read_policies(tmp_path)
    assert [Path(problem.partition(":")[0]).name for problem in caught.value.problems] == ["a.yaml", "b.yaml"]


def test_what_is_no_policy_is_named_by_file_and_object(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: cart}
spec: {rulez: []}
---
apiVersion: v1
kind: AuthorizationPolicy
metadata: {name: pay}
---
kind: AuthorizationPolicy
metadata: pay
"""
    )
    cart = f"{tmp_path}/a.yaml (AuthorizationPolicy shop/cart)"
    with pytest.raises(PolicyError) as caught:
        as_policies(read_policies(tmp_path))
    assert caught.value.problems == (
        f"{cart}: expected an AuthorizationPolicy: Object contains unknown field `rulez` - at `$.spec`",
        f"{tmp_path}/a.yaml, document 2 (AuthorizationPolicy pay): expected apiVersion security.istio.io/v1, got 'v1'",
        f"{tmp_path}/a.yaml, document 3: expected apiVersion security.istio.io/v1, got None",
    )
