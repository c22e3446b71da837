import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_server.engine.errors import BundleError
from authz_server.place import Place, is_safe, open_place


@pytest.fixture(params=["directory", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "directory":
        yield open_place(tmp_path / "not" / "yet")
    else:
        yield open_place("memory://place/below")
        fsspec.filesystem("memory").store.clear()


def test_what_was_written_is_read(place: Place) -> None:
    assert place.read("a", 10) is None
    place.write("a", b"1")
    place.write("a", b"22")
    place.add("revisions/r1", {"manifest.json": b"{}", "workloads/w.json": b"[]"})

    assert (
        place.read("a", 2),
        place.read("revisions/r1/manifest.json", 10),
        place.read("revisions/r1/workloads/w.json", 10),
    ) == (b"22", b"{}", b"[]")
    assert place.names("revisions") == ["r1"]


def test_a_directory_is_removed_with_all_in_it(place: Place) -> None:
    place.add("revisions/r1", {"manifest.json": b"{}"})
    place.remove("revisions/r1")
    place.remove("revisions/r2")

    assert place.names("revisions") == []
    assert place.names("elsewhere") == []
    assert place.read("revisions/r1/manifest.json", 10) is None


def test_a_file_over_the_limit_is_refused(place: Place) -> None:
    place.write("a", b"123")

    with pytest.raises(BundleError, match="expected at most 2 bytes"):
        place.read("a", 2)


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/../b", "/etc/passwd", "a//b", ".hidden", "a/.b", "a b", "a\n", "a/b/c/d/e", "-x"]
)
def test_a_name_that_leads_out_is_refused(place: Place, name: str) -> None:
    assert not is_safe(name)
    for use in (
        lambda: place.read(name, 1),
        lambda: place.write(name, b""),
        lambda: place.remove(name),
        lambda: place.names(name),
    ):
        with pytest.raises(BundleError, match="expected a name inside the bundle"):
            use()


@given(st.text("ab./\\-_~%\0\n", max_size=12))
def test_a_safe_name_stays_inside(name: str) -> None:
    if is_safe(name):
        assert Path("/bundle/" + name).resolve().is_relative_to("/bundle/")
        assert not set(name) & set("\\~%\0\n")


def test_a_link_out_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    root = tmp_path / "root"
    (root / "..data").mkdir(parents=True)
    (root / "..data" / "inside").write_text("fine")
    (root / "out").symlink_to(outside)
    (root / "in").symlink_to("..data/inside")
    (root / "loop").symlink_to("loop")

    assert open_place(root).read("in", 10) == b"fine"
    with pytest.raises(BundleError, match="got a link out of it"):
        open_place(root).read("out", 10)
    with pytest.raises(BundleError):
        open_place(root).read("loop", 10)


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(BundleError, match="expected a readable file"):
        open_place(tmp_path).read("a", 10)


def test_what_is_written_can_be_read_by_others(tmp_path: Path) -> None:
    place = open_place(tmp_path)
    place.write("current", b"r")
    place.add("r", {"w/x": b""})

    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("current", "r", "r/w", "r/w/x")] == [
        0o644,
        0o755,
        0o755,
        0o644,
    ]


def test_nothing_half_written_stays_when_writing_fails(tmp_path: Path) -> None:
    place = open_place(tmp_path)
    place.add("revisions/r", {"a": b"old"})

    with pytest.raises(BundleError, match="expected to be able to write"):
        place.add("revisions/r", {"a": b"new"})

    assert [path.name for path in (tmp_path / "revisions").iterdir()] == ["r"]
    assert place.read("revisions/r/a", 10) == b"old"


def test_what_a_dead_writer_left_is_removed_after_a_while(tmp_path: Path) -> None:
    for name in (".tmp-old", ".tmp-new"):
        (tmp_path / "revisions" / name).mkdir(parents=True)
    os.utime(tmp_path / "revisions" / ".tmp-old", (1, 1))

    open_place(tmp_path).remove_stale("revisions", time.time() - 3600)

    assert [path.name for path in (tmp_path / "revisions").iterdir()] == [".tmp-new"]


def test_an_unknown_url_is_refused_without_its_credentials() -> None:
    with pytest.raises(BundleError) as refused:
        open_place("nosuchstore://me:hunter2@host/x")

    assert "hunter2" not in str(refused.value)
    assert "expected a URL that fsspec knows" in str(refused.value)
