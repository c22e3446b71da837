"""The command `trainer callers`."""

import gzip
from pathlib import Path

import msgspec
import pytest

from authz_server.engine.errors import FormatError, StoreError
from authz_server.engine.observe import Observer
from trainer.callers import Candidate
from trainer.callers_report import from_file, from_store, to_json, to_text
from trainer.imports import Format, import_files


@pytest.fixture
def calls(tmp_path: Path) -> str:
    rows = [
        {"ts": n, "method": "GET", "path": "/", "dst": "shop/shop", "headers": {"cookie": f"sid={n % 9:020x}", "x-n": str(n)}}
        for n in range(300)
    ]
    path = tmp_path / "calls.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(msgspec.json.encode(row) for row in rows)))
    return str(path)


def test_file_and_store_agree(calls: str, tmp_path: Path) -> None:
    import_files([calls], Format.CALLS, str(tmp_path / "store"), Observer("key"))
    for found in (from_file(calls, Format.CALLS), from_store(str(tmp_path / "store"))):
        (best, *_) = found["shop/shop"]
        assert ("cookie:sid", 9, "") == (best.source, best.callers, best.reason)


def test_calls_under_the_newest_key_are_ranked_so_that_nobody_is_two_callers(calls: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for key, opened in (("old", "20261120T000000"), ("new", "20261121T000000")):
        import_files([calls], Format.CALLS, str(store), Observer(key))
        for segment in store.glob(f"calls-*-{Observer(key).key_id}-*"):
            segment.rename(store / f"calls-{opened}-{segment.name.split('-', 2)[2]}")

    (best, *_) = from_store(str(store))["shop/shop"]

    assert ("cookie:sid", 9) == (best.source, best.callers)


def test_on_a_narrow_terminal_every_line_fits_and_every_figure_is_there(calls: str) -> None:
    ranking = from_file(calls, Format.CALLS)
    text = to_text(ranking, 60)
    assert max(len(line) for line in text.splitlines()) <= 60
    said = " ".join(text.split())
    assert "cookie:sid calls with it: 100.0%, callers: 9, calls each: 33, alive for: 5 min" in said
    assert "header:x-n: a new value nearly every time" in said
    assert max(len(line) for line in to_text(ranking).splitlines()) > 100


def test_what_clients_name_is_shown_as_it_is() -> None:
    candidate = Candidate("cookie:[bold]", 1.0, 9, 33.0, 300.0, 0.9, 0.1, 0.0, "")
    for width in (60, 160):
        text = to_text({"[/]": [candidate], "": []}, width)
        assert "cookie:[bold]" in text
        assert "[/]" in text
        assert "unnamed workload" in text


def test_the_text_ends_with_what_goes_into_the_policy(calls: str) -> None:
    text = to_text(from_file(calls, Format.CALLS))
    assert '"shop/shop":\n      session: [{cookie: "sid"}]' in text
    assert "a new value nearly every time" in text


def test_the_json_has_scores(calls: str) -> None:
    (best, *_) = msgspec.json.decode(to_json(from_file(calls, Format.CALLS)))["shop/shop"]
    assert 0.8 < best["score"] < 1.0


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text("no\n")
    (tmp_path / "store").mkdir()
    for name in ("empty.jsonl", "bad.jsonl"):
        with pytest.raises(FormatError, match="expected"):
            from_file(str(tmp_path / name), Format.CALLS)
    with pytest.raises(StoreError, match="expected recorded calls"):
        from_store(str(tmp_path / "store"))
