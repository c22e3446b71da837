import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import msgspec
import pytest

from authz_server import bundle as bundle_module
from authz_server.bundle import (
    KEPT_REVISIONS,
    Bundle,
    BundleDirectory,
    load_bundle,
    read_description,
    revisions,
    write_bundle,
)
from authz_server.engine.errors import BundleError
from authz_server.engine.model import SCHEMA_VERSION, Manifest, encode_model
from tests.factories_shell import KEY_ID, workload_model

MODELS = (workload_model("shop/cart"), workload_model("shop/pay", n=7))


@pytest.fixture(params=["directory", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "bundle")
    else:
        yield "memory://bundles/one"
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def publish(place: str | Path, n: int = 1000, created: float = 5.0) -> str:
    return write_bundle(place, [workload_model(n=n)], created, KEY_ID).revision


def problems_of(place: str | Path, key_id: str = KEY_ID) -> str:
    with pytest.raises(BundleError) as refused:
        load_bundle(place, key_id)
    return "\n".join(refused.value.problems)


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


def test_the_revision_depends_on_contents_and_key_alone(tmp_path: Path) -> None:
    def revision(name: str, models: tuple[object, ...], created: float, key_id: str = KEY_ID) -> str:
        return write_bundle(tmp_path / name, models, created, key_id).revision  # type: ignore[arg-type]

    first = revision("a", MODELS, 1.0)

    assert first == revision("b", MODELS[::-1], 2.0)
    assert first != revision("c", MODELS[:1], 1.0)
    assert first != revision("d", MODELS, 1.0, "ffff")


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


def test_two_models_of_one_workload_are_refused(root: Path) -> None:
    with pytest.raises(BundleError, match="expected one model a workload"):
        write_bundle(root, [workload_model(), workload_model()], 5.0, KEY_ID)


@pytest.mark.parametrize("name", ["a/b", "../../etc", "a b", "ü/ö", ".", "-", "x" * 256, "a/b?c=d", "shop.demo.local"])
def test_any_workload_name_makes_a_safe_file(root: Path, name: str) -> None:
    write_bundle(root, [workload_model(name)], 5.0, KEY_ID)

    assert [name] == list(load_bundle(root, KEY_ID).models)


def test_names_that_look_alike_do_not_collide(root: Path) -> None:
    write_bundle(root, [workload_model("a/b"), workload_model("a-b"), workload_model("a b")], 5.0, KEY_ID)

    assert {"a/b", "a-b", "a b"} == set(load_bundle(root, KEY_ID).models)


# --- what is wrong with a bundle


def change_manifest(root: Path, change: Callable[[dict[str, object]], object], *, renamed: bool = False) -> None:
    """Change the manifest in force; `renamed`: as a publisher would, with the revision that its contents give."""
    path = root / "revisions" / (root / "current").read_text().strip() / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    if renamed:
        document["revision"] = bundle_module._revision(msgspec.convert(document, Manifest))
        path.parent.rename(path.parent.parent / str(document["revision"]))
        path = path.parent.parent / str(document["revision"]) / "manifest.json"
        (root / "current").write_text(str(document["revision"]))
    path.write_text(json.dumps(document))


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
    monkeypatch.setattr(bundle_module, "MAX_MODEL_BYTES", 100)
    assert "expected at most 100 bytes" in problems_of(root)
    with pytest.raises(BundleError, match="expected a model of at most 100 bytes"):
        publish(root, 3)
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", 99)
    assert "expected at most 99 bytes" in problems_of(root)
    monkeypatch.undo()
    monkeypatch.setattr(bundle_module, "MAX_WORKLOADS", 0)
    assert "expected at most 0 workloads, got 1" in problems_of(root)


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


# --- publishing


def test_the_newest_revisions_stay_and_the_one_in_force_always(place: str) -> None:
    made = [publish(place, n=n, created=float(n)) for n in range(1, KEPT_REVISIONS + 3)]

    assert made[: -KEPT_REVISIONS - 1 : -1] == [manifest.revision for manifest in revisions(place)]
    late = publish(place, n=99, created=0.5)
    assert late == load_bundle(place, KEY_ID).revision
    assert {late, *made[-KEPT_REVISIONS + 1 :]} == {manifest.revision for manifest in revisions(place)}


def test_the_name_of_an_older_revision_in_current_puts_it_in_force(place: str) -> None:
    first, second = publish(place, 1, 1.0), publish(place, 2, 2.0)

    with fsspec.open(f"{place}/current", "wb") as file:
        file.write(first.encode())

    assert first == load_bundle(place, KEY_ID).revision
    assert [second, first] == [manifest.revision for manifest in revisions(place)]


def test_publishing_the_same_again_keeps_its_first_date(place: str) -> None:
    first = write_bundle(place, MODELS, 5.0, KEY_ID)
    publish(place, 3)

    assert first == write_bundle(place, MODELS, 9.0, KEY_ID)
    assert first.revision == load_bundle(place, KEY_ID).revision


def test_publishing_over_a_damaged_revision_mends_it(place: str) -> None:
    manifest = write_bundle(place, MODELS, 5.0, KEY_ID)
    with fsspec.open(f"{place}/revisions/{manifest.revision}/{manifest.workloads['shop/cart'].file}", "wb") as file:
        file.write(b"{}")
    assert "damaged" in problems_of(place)

    write_bundle(place, MODELS, 6.0, KEY_ID)

    assert len(load_bundle(place, KEY_ID).models) == 2


def test_nothing_temporary_stays(root: Path) -> None:
    publish(root)
    publish(root, 2)

    assert [path for path in root.rglob("*") if path.name.startswith(".tmp")] == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BundleError, match="expected to be able to write"):
        publish(tmp_path / "file")


# --- following


def test_a_new_bundle_is_swapped_in_and_told(place: str) -> None:
    told: list[Bundle] = []
    directory = BundleDirectory(place, KEY_ID, on_change=told.append)
    assert Bundle() == directory.current
    revision = publish(place)

    assert directory.poll()

    assert revision == directory.current.revision
    assert [directory.current] == told
    assert not directory.poll()


def test_a_flat_bundle_is_followed(root: Path, tmp_path: Path) -> None:
    first, second = publish(root, 1), publish(root, 2)
    flat = tmp_path / "flat"
    shutil.copytree(root / "revisions" / first, flat)
    directory = BundleDirectory(flat, KEY_ID)
    shutil.copytree(root / "revisions" / second, flat, dirs_exist_ok=True)

    assert directory.poll()

    assert second == directory.current.revision


def test_a_bad_bundle_keeps_the_old_one_and_says_so_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = publish(root)
    directory = BundleDirectory(root, KEY_ID)
    write_bundle(root, MODELS, 5.0, "another-key")

    assert [directory.poll() for _ in range(30)] == [False] * 30

    assert first == directory.current.revision
    assert "hash key" in directory.problem
    assert directory.failures == 1
    assert [record.message for record in caplog.records] == ["bundle_refused"]
    (root / "current").write_text(first)
    assert not directory.poll()
    assert directory.problem == ""
    assert [record.message for record in caplog.records] == ["bundle_refused", "bundle_accepted"]


def test_a_bundle_that_vanished_keeps_the_old_one(root: Path) -> None:
    first = publish(root)
    directory = BundleDirectory(root, KEY_ID)
    shutil.rmtree(root)

    assert not directory.poll()

    assert first == directory.current.revision
    assert "expected a bundle, got none any more" in directory.problem
    second = publish(root, 2)
    assert directory.poll()
    assert (second, "") == (directory.current.revision, directory.problem)


def test_a_bundle_whose_files_come_late_is_tried_again(root: Path, tmp_path: Path) -> None:
    revision = publish(root)
    late = tmp_path / "late"
    late.mkdir()
    directory = BundleDirectory(late, KEY_ID)
    shutil.copy(root / "revisions" / revision / "manifest.json", late)
    assert not directory.poll()
    assert "got no file" in directory.problem
    shutil.copytree(root / "revisions" / revision / "workloads", late / "workloads")

    swapped = [directory.poll() for _ in range(20)]

    assert 1 == swapped.count(True)
    assert (revision, "") == (directory.current.revision, directory.problem)


def test_a_bad_bundle_stops_the_start(root: Path) -> None:
    publish(root)

    with pytest.raises(BundleError):
        BundleDirectory(root, "another-key")


def test_without_a_place_there_is_no_model() -> None:
    directory = BundleDirectory(None, KEY_ID)

    assert not directory.poll()
    assert Bundle() == directory.current


def test_readers_see_whole_bundles_while_they_are_swapped_and_published(root: Path) -> None:
    """Publisher, follower and readers at once: never a half bundle, never a problem."""
    publish(root)
    directory = BundleDirectory(root, KEY_ID)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            bundle = directory.current
            if {bundle.revision} != {ready.revision for ready in bundle.models.values()}:
                wrong.append(bundle.revision)

    def follow() -> None:
        while not stop.is_set():
            directory.poll()
            if directory.problem:
                wrong.append(directory.problem)

    threads = [threading.Thread(target=read), threading.Thread(target=follow)]
    for thread in threads:
        thread.start()
    last = [publish(root, n, float(n)) for n in range(1, 25)][-1]
    stop.set()
    for thread in threads:
        thread.join()
    directory.poll()

    assert wrong == []
    assert last == directory.current.revision


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
