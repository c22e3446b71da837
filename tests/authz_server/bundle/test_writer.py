from pathlib import Path

import fsspec
import pytest

from authz_server.bundle import KEPT_REVISIONS, load_bundle, revisions, write_bundle
from authz_server.engine.errors import BundleError
from tests.factories_bundle import MODELS, problems_of, publish
from tests.factories_shell import KEY_ID, workload_model


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


def test_the_revision_depends_on_contents_and_key_alone(tmp_path: Path) -> None:
    def revision(name: str, models: tuple[object, ...], created: float, key_id: str = KEY_ID) -> str:
        return write_bundle(tmp_path / name, models, created, key_id).revision  # type: ignore[arg-type]

    first = revision("a", MODELS, 1.0)

    assert first == revision("b", MODELS[::-1], 2.0)
    assert first != revision("c", MODELS[:1], 1.0)
    assert first != revision("d", MODELS, 1.0, "ffff")


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
