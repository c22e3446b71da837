import logging
import shutil
import threading
from pathlib import Path

import pytest

from authz_server.bundle import Bundle, BundleDirectory, write_bundle
from authz_server.engine.errors import BundleError
from tests.factories_bundle import MODELS, publish
from tests.factories_shell import KEY_ID


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
