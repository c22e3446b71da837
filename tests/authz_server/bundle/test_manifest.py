"""What is wrong with a manifest, or with the file that names the one in force."""

from pathlib import Path

import pytest

from authz_server.engine.model import SCHEMA_VERSION
from tests.factories_bundle import change_manifest, problems_of, publish
from tests.factories_shell import KEY_ID


def test_another_hash_key_is_refused_with_what_to_do(root: Path) -> None:
    publish(root)

    problems = problems_of(root, "ffffffffffffffff")

    assert f"our hash key (key id ffffffffffffffff), got one under key id {KEY_ID}: set AUTHZ_HASH_KEY and" in problems
    assert "or name another place for the bundle" in problems


@pytest.mark.parametrize(
    ("version", "what"), [(0, "train again"), (SCHEMA_VERSION + 1, "use a newer server"), ("1", "Expected `int`")]
)
def test_another_schema_version_is_refused(root: Path, version: object, what: str) -> None:
    publish(root)
    change_manifest(root, lambda manifest: manifest.update(schema_version=version))

    assert what in problems_of(root)


def test_a_manifest_whose_contents_do_not_give_its_revision_is_refused(root: Path) -> None:
    publish(root)
    change_manifest(root, lambda manifest: manifest.update(calls=1))

    assert "as its contents say" in problems_of(root)


def test_a_manifest_under_another_revision_is_refused(root: Path) -> None:
    revision = publish(root)
    (root / "revisions" / revision).rename(root / "revisions" / "other")
    (root / "current").write_text("other\n")

    assert "expected revision other" in problems_of(root)


@pytest.mark.parametrize("file", ["../../../secret.json", "/etc/passwd", "workloads/../../x", ".x", ""])
def test_a_file_outside_is_refused(root: Path, file: str) -> None:
    publish(root)

    def change(manifest: dict[str, dict[str, dict[str, object]]]) -> None:
        manifest["workloads"]["shop/cart"]["file"] = file

    change_manifest(root, change, renamed=True)  # type: ignore[arg-type]

    assert "expected a file inside the bundle" in problems_of(root)


@pytest.mark.parametrize("pointer", [b"", b"../x", b"\xff", b"a" * 100, b"a/b", b"x" * 300])
def test_a_strange_pointer_is_refused(root: Path, pointer: bytes) -> None:
    publish(root)
    (root / "current").write_bytes(pointer)

    assert "current: expected" in problems_of(root)


def test_a_pointer_to_nothing_is_refused(root: Path) -> None:
    root.mkdir()
    (root / "current").write_text("abc")

    assert "revisions/abc/manifest.json: expected a manifest, got no file" in problems_of(root)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b'{"schema_version":1}'])
def test_any_manifest_is_read_or_refused(root: Path, data: bytes) -> None:
    root.mkdir()
    (root / "manifest.json").write_bytes(data)

    assert "manifest.json: expected" in problems_of(root)
