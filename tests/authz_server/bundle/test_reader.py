import hashlib
import shutil
from pathlib import Path

import pytest

from authz_server.bundle import Bundle, load_bundle, manifest, read_description, reader, write_bundle, writer
from authz_server.engine.errors import BundleError
from authz_server.engine.model import encode_model
from tests.factories_bundle import MODELS, change_manifest, problems_of, publish
from tests.factories_shell import KEY_ID, workload_model


def test_what_was_written_is_read(place: str) -> None:
    manifest = write_bundle(place, MODELS, 5.0, KEY_ID)

    bundle = load_bundle(place, KEY_ID)

    assert manifest == bundle.manifest
    assert manifest.revision == bundle.revision
    assert {model.workload: model for model in MODELS} == {name: ready.model for name, ready in bundle.models.items()}
    assert {manifest.revision} == {ready.revision for ready in bundle.models.values()}
    assert (
        manifest.calls,
        manifest.created,
        manifest.workloads["shop/cart"].calls,
        manifest.workloads["shop/cart"].endpoints,
    ) == (1007, 5.0, 1000, 2)


def test_where_nothing_was_published_nothing_is_learned(place: str) -> None:
    assert Bundle() == load_bundle(place, KEY_ID)


def test_only_the_wanted_workloads_are_loaded_and_a_missing_one_is_no_problem(place: str) -> None:
    write_bundle(place, MODELS, 5.0, KEY_ID)

    assert list(load_bundle(place, KEY_ID, ["shop/pay", "shop/none"]).models) == ["shop/pay"]


def test_a_directory_that_holds_the_manifest_itself_is_read(root: Path, tmp_path: Path) -> None:
    revision = publish(root)
    shutil.copytree(root / "revisions" / revision, tmp_path / "flat")

    assert revision == load_bundle(tmp_path / "flat", KEY_ID).revision


def test_a_configmap_mount_is_read(root: Path, tmp_path: Path) -> None:
    revision = publish(root)
    mount = tmp_path / "mount"
    shutil.copytree(root / "revisions" / revision, mount / "..2026_11")
    (mount / "..data").symlink_to("..2026_11")
    (mount / "manifest.json").symlink_to("..data/manifest.json")
    (mount / "workloads").symlink_to("..data/workloads")

    assert revision == load_bundle(mount, KEY_ID).revision


def test_models_of_the_same_digest_are_taken_over(root: Path) -> None:
    write_bundle(root, MODELS, 5.0, KEY_ID)
    before = load_bundle(root, KEY_ID)
    write_bundle(root, [MODELS[0], workload_model("shop/pay", n=8)], 6.0, KEY_ID)

    after = load_bundle(root, KEY_ID, previous=before)

    assert before.models["shop/cart"].model is after.models["shop/cart"].model
    assert before.models["shop/pay"].model is not after.models["shop/pay"].model
    assert {after.revision} == {ready.revision for ready in after.models.values()} != {before.revision}


def test_every_problem_is_told_at_once(root: Path) -> None:
    manifest = write_bundle(root, [*MODELS, workload_model("shop/ship")], 5.0, KEY_ID)
    directory = root / "revisions" / manifest.revision
    (directory / manifest.workloads["shop/cart"].file).unlink()
    (directory / manifest.workloads["shop/pay"].file).write_bytes(b"{}")

    lines = problems_of(root).splitlines()

    assert len(lines) == 2
    assert all(line.startswith(f"{root}: workloads/shop-") for line in lines)
    assert "expected the model of shop/cart, got no file" in lines[0]
    assert "damaged or half copied" in lines[1]


def test_a_link_out_of_the_bundle_is_refused(root: Path, tmp_path: Path) -> None:
    manifest = write_bundle(root, MODELS[:1], 5.0, KEY_ID)
    path = root / "revisions" / manifest.revision / manifest.workloads["shop/cart"].file
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")

    assert "got a link out of it" in problems_of(root)


def replace_model(root: Path, data: bytes) -> None:
    def change(manifest: dict[str, dict[str, dict[str, object]]]) -> None:
        entry = manifest["workloads"]["shop/cart"]
        directory = root / "revisions" / (root / "current").read_text().strip()
        (directory / str(entry["file"])).write_bytes(data)
        entry["sha256"] = hashlib.sha256(data).hexdigest()

    change_manifest(root, change, renamed=True)  # type: ignore[arg-type]


def test_the_model_of_another_workload_is_refused(root: Path) -> None:
    publish(root)
    replace_model(root, encode_model(workload_model("shop/pay")))

    assert "expected the model of shop/cart, got that of 'shop/pay'" in problems_of(root)


def test_a_model_of_the_wrong_shape_is_refused_with_the_field(root: Path) -> None:
    publish(root)
    replace_model(root, b'{"workload": 7}')

    assert "workload" in problems_of(root)


def test_a_model_or_manifest_over_the_limit_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(root)
    for module in (reader, writer):
        monkeypatch.setattr(module, "MAX_MODEL_BYTES", 100)
    assert "expected at most 100 bytes" in problems_of(root)
    with pytest.raises(BundleError, match="expected a model of at most 100 bytes"):
        publish(root, 3)
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 99)
    assert "expected at most 99 bytes" in problems_of(root)
    monkeypatch.undo()
    monkeypatch.setattr(manifest, "MAX_WORKLOADS", 0)
    assert "expected at most 0 workloads, got 1" in problems_of(root)


def test_a_description_lies_beside_the_model_and_is_not_loaded(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    plain = write_bundle(root, MODELS, 5.0, KEY_ID)
    manifest = write_bundle(root, MODELS, 6.0, KEY_ID, {"shop/pay": b"not even JSON"})
    assert manifest.revision != plain.revision
    bundle = load_bundle(root, KEY_ID)
    assert read_description(root, bundle, "shop/pay") == b"not even JSON"
    assert read_description(root, bundle, "shop/cart") is None
    flat = load_bundle(root / "revisions" / manifest.revision, KEY_ID)
    assert read_description(root / "revisions" / manifest.revision, flat, "shop/pay") == b"not even JSON"


def test_a_description_that_is_not_as_the_manifest_says_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    write_bundle(root, MODELS, 6.0, KEY_ID, {"shop/pay": b"{}"})
    bundle = load_bundle(root, KEY_ID)
    (file,) = root.glob("revisions/*/workloads/*.description.json")
    file.write_bytes(b"[]")
    with pytest.raises(BundleError, match="damaged"):
        read_description(root, bundle, "shop/pay")
    file.unlink()
    with pytest.raises(BundleError, match="no file"):
        read_description(root, bundle, "shop/pay")


def test_any_key_will_do_for_those_who_judge_nothing(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", MODELS, 6.0, "another-key")
    assert len(load_bundle(tmp_path / "bundle", None).models) == 2
