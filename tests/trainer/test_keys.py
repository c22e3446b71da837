"""Stores of one hash key, of several, and of segments that name none."""

from pathlib import Path

import pytest

from authz_server.bundle import write_bundle
from authz_server.engine.errors import BundleError, StoreError
from authz_server.engine.observe import Observer
from tests.factories import record
from tests.factories_shell import workload_model
from trainer.keys import KeyShare, beside, left_out, need_own_place, newest_key, of_key, shares
from trainer.store_writer import StoreWriter
from trainer.stored_segment import list_segments

OURS, OLD, OTHER = (Observer(key).key_id for key in ("ours", "old", "other"))


def put(store: Path, kind: str, opened: str, key_id: str, size: int = 1_000_000) -> str:
    store.mkdir(exist_ok=True)
    name = f"{kind}-{opened}-{key_id}{'-' if key_id else ''}w-000001.jsonl"
    (store / name).write_bytes(b"\n" * size)
    return name


def names(store: Path, key_id: str | None) -> set[str]:
    return {Path(segment.path).name for segment in of_key(str(store), key_id)}


def test_a_writer_names_the_key_of_its_calls(tmp_path: Path) -> None:
    with StoreWriter(str(tmp_path), OURS) as writer:
        writer.put(record())

    assert [OURS] == [share.key_id for share in shares(list_segments(str(tmp_path)))]


def test_segments_are_summed_up_by_key_the_newest_first(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261119T000000", OURS)
    put(tmp_path, "calls", "20261121T000000", OURS, 500_000)
    put(tmp_path, "calls", "20261120T000000", "")
    put(tmp_path, "calls", "20261122T000000", OTHER)
    put(tmp_path, "outcomes", "20261123T000000", OLD)

    assert [
        KeyShare(OTHER, 1, 1_000_000, "20261122T000000"),
        KeyShare(OURS, 2, 1_500_000, "20261121T000000"),
        KeyShare("", 1, 1_000_000, "20261120T000000"),
    ] == shares(list_segments(str(tmp_path)))


def test_calls_and_outcomes_of_one_key_are_taken(tmp_path: Path) -> None:
    ours = {put(tmp_path, kind, "20261120T000000", OURS) for kind in ("calls", "outcomes")}
    theirs = {put(tmp_path, kind, "20261119T000000", OLD) for kind in ("calls", "outcomes")}
    unnamed = {put(tmp_path, "calls", "20261118T000000", "")}

    assert ours == names(tmp_path, OURS)
    assert theirs == names(tmp_path, OLD)
    assert unnamed == names(tmp_path, "")
    assert ours | theirs | unnamed == names(tmp_path, None)


def test_a_store_without_calls_is_no_error(tmp_path: Path) -> None:
    assert set() == names(tmp_path, OURS)
    outcomes = put(tmp_path, "outcomes", "20261120T000000", OURS)
    put(tmp_path, "outcomes", "20261120T000000", OLD)
    assert {outcomes} == names(tmp_path, OURS)


def test_calls_under_other_keys_alone_are_an_error_that_names_the_keys_and_the_way_out(tmp_path: Path) -> None:
    put(tmp_path, "outcomes", "20261120T000000", OURS)
    put(tmp_path, "calls", "20261120T000000", OLD)
    put(tmp_path, "calls", "20261121T000000", OLD)

    for ask in (of_key, left_out):
        with pytest.raises(StoreError) as raised:
            ask(str(tmp_path), OURS)

        (problem,) = raised.value.problems
        assert problem.startswith(f"{tmp_path}: expected calls recorded under our hash key (key id {OURS}), got 2 segments of")
        assert f"2 segments of 2,000 kB under key id {OLD}: " in problem
        assert "set TRAINER_HASH_KEY to the key that they were recorded under, the server's AUTHZ_HASH_KEY" in problem
        assert "earlier version" not in problem


def test_a_key_that_was_not_set_is_said_to_be_none(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261120T000000", OLD)

    with pytest.raises(StoreError, match="which is no key at all"):
        of_key(str(tmp_path), Observer("").key_id)


def test_segments_that_name_no_key_are_an_error_that_says_what_can_be_done(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261120T000000", "")

    with pytest.raises(StoreError, match=r"1 segment of 1,000 kB that name no key") as raised:
        of_key(str(tmp_path), OURS)

    assert "write its id behind the time in their files' names" in str(raised.value)
    assert "TRAINER_HASH_KEY" not in str(raised.value)


def test_following_that_advice_makes_the_segment_ours(tmp_path: Path) -> None:
    unnamed = tmp_path / put(tmp_path, "calls", "20261120T000000", "")
    unnamed.rename(tmp_path / unnamed.name.replace("20261120T000000-", f"20261120T000000-{OURS}-"))

    assert 1 == len(of_key(str(tmp_path), OURS))


def test_a_store_of_many_keys_names_some(tmp_path: Path) -> None:
    for n in range(20):
        put(tmp_path, "calls", f"202611{n:02}T000000", Observer(str(n)).key_id, 0)

    with pytest.raises(StoreError, match="and those of 16 other keys: ") as raised:
        of_key(str(tmp_path), OURS)

    assert Observer("19").key_id in str(raised.value)


def test_nothing_is_said_of_a_store_of_one_key(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261120T000000", OURS)

    assert ("", "") == (left_out(str(tmp_path), OURS), beside(str(tmp_path), OURS))


def test_what_is_left_out_after_the_key_was_changed_is_told(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261119T000000", OLD)
    put(tmp_path, "calls", "20261120T000000", OURS)

    assert f"only calls under key id {OURS} are read, left out: 1 segment of 1,000 kB under key id {OLD}" == left_out(
        str(tmp_path), OURS
    )


def test_it_is_asked_whether_a_key_is_outdated_where_the_newest_calls_are_under_another(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261119T000000", OURS)
    put(tmp_path, "calls", "20261120T000000", OTHER)

    assert left_out(str(tmp_path), OURS).endswith("the newest calls are among them: is this still the server's hash key?")


def test_whoever_adds_calls_under_another_key_is_told(tmp_path: Path) -> None:
    put(tmp_path, "calls", "20261119T000000", OLD)

    said = beside(str(tmp_path), OURS)

    assert f"1 segment of 1,000 kB under key id {OLD}, and what is added now is under key id {OURS}" in said
    assert "" == beside(str(tmp_path / "nowhere"), OURS)
    assert "" == beside("memory://nowhere", OURS)


def test_the_newest_calls_key_is_known(tmp_path: Path) -> None:
    assert newest_key(str(tmp_path)) is None
    put(tmp_path, "calls", "20261120T000000", OTHER)
    put(tmp_path, "calls", "20261119T000000", OURS)
    put(tmp_path, "outcomes", "20261121T000000", OURS)
    assert OTHER == newest_key(str(tmp_path))


def test_a_place_of_bundles_under_another_key_is_refused(tmp_path: Path) -> None:
    place = str(tmp_path / "bundle")
    need_own_place(place, OURS)
    write_bundle(place, [workload_model("shop/cart")], 0.0, OLD)
    need_own_place(place, OLD)

    with pytest.raises(BundleError, match=rf"{OURS}.* one that holds a bundle under key id {OLD}: .* name another place"):
        need_own_place(place, OURS)
