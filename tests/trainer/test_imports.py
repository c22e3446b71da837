import gzip
from pathlib import Path

import msgspec
import pytest

from authz_server.engine.errors import FormatError
from authz_server.engine.observe import Observer
from trainer.imports import Format, Imports, import_files, iter_calls_file, iter_records
from trainer.store import read_calls

GOOD = [{"method": "GET", "path": f"/cart/{n}", "dst": "cart", "ts": float(n), "label": n % 2} for n in range(5)]
OBSERVER = Observer("key")


def calls_file(directory: Path, *, bad_line: int | None = None, name: str = "calls.jsonl.gz") -> str:
    lines = [msgspec.json.encode(row) for row in GOOD]
    if bad_line is not None:
        lines[bad_line] = b'{"method": "GET"}'
    path = directory / name
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    return str(path)


def test_imported_calls_are_those_of_the_file(tmp_path: Path) -> None:
    path = calls_file(tmp_path)
    imports = import_files([path], Format.CALLS, str(tmp_path / "store"), OBSERVER)
    assert (5, 0) == (imports.written, imports.skipped)
    assert list(iter_calls_file(path, OBSERVER)) == list(read_calls(str(tmp_path / "store")))


def test_two_readings_agree_and_ids_differ_within_one(tmp_path: Path) -> None:
    path = calls_file(tmp_path)
    first = list(iter_calls_file(path, OBSERVER))
    assert first == list(iter_calls_file(path, OBSERVER))
    assert 5 == len({record.id for record in first})


def test_first_bad_line_stops_and_what_came_before_is_stored(tmp_path: Path) -> None:
    path = calls_file(tmp_path, bad_line=3)
    with pytest.raises(FormatError, match="line 4: expected a call") as raised:
        import_files([path], Format.CALLS, str(tmp_path / "store"), OBSERVER)
    assert "3 calls before it were imported" == raised.value.problems[-1]
    assert [0.0, 1.0, 2.0] == [record.ts for record in read_calls(str(tmp_path / "store"))]


def test_skip_bad_counts_and_goes_on(tmp_path: Path) -> None:
    path = calls_file(tmp_path, bad_line=3)
    imports = import_files([path, path], Format.CALLS, str(tmp_path / "store"), OBSERVER, skip_bad=True)
    assert (8, 2) == (imports.written, imports.skipped)
    assert "line 4" in imports.problems[0]


def test_progress_comes_to_the_size_of_the_files(tmp_path: Path) -> None:
    paths = [calls_file(tmp_path), calls_file(tmp_path, name="more.jsonl.gz")]
    told: list[int] = []

    def take(imports: Imports) -> None:
        told.append(imports.read)

    import_files(paths, Format.CALLS, str(tmp_path / "store"), OBSERVER, progress=take)
    assert sum(Path(path).stat().st_size for path in paths) == told[-1]


def test_wrong_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a HAR document"):
        list(iter_records(calls_file(tmp_path), Format.HAR, OBSERVER))
