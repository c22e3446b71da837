"""The whole study: edge cases, the same files each time, and the command."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from authz_server.engine.errors import FormatError, SettingError, StoreError, TrainingError
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from tests.trainer.study.traffic import browse, order, shop
from trainer.store_writer import StoreWriter
from trainer.study.publish import publish_study, to_wanted
from trainer.study.study import Study

OBSERVER = Observer("a hash key of the tests")


def store_of(records: list[CallRecord], place: Path) -> str:
    with StoreWriter(str(place), OBSERVER.key_id) as writer:
        for one in records:
            writer.put(one)
    return str(place)


def study_of(records: list[CallRecord], path: Path, wanted: int | None = 2, **settings: int | str) -> Study:
    store = store_of(records, path / "store")
    return publish_study(None, store, str(path / "out"), wanted=wanted, observer=OBSERVER, **settings)  # type: ignore[arg-type]


@pytest.mark.usefixtures("coarse")
def test_a_study_finds_what_the_clusters_restate_and_that_labels_agree(tmp_path: Path) -> None:
    records = [
        one(number, label=label, attack="bot" if label else None)
        for number in range(40)
        for label, one in enumerate((browse, order))
    ]
    found = study_of(records, tmp_path)
    assert found.clustering is not None
    assert (80, 64, 2) == (found.sampled, found.train, found.clustering.clusters)
    assert 1.0 == found.clustering.explanations[0].information
    assert [1.0, 1.0] == [one.rand for one in found.clustering.agreements]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "**The clusters mostly restate `body`**" in report
    assert "agreement is **good** (adjusted Rand index 1.000)" in report


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store of 120 calls, and in `out` a study of 90 of them."""
    path = tmp_path_factory.mktemp("published")
    store = store_of(shop(120), path / "store")
    publish_study(None, store, str(path / "out"), wanted=None, seed=5, sample=90, observer=OBSERVER)
    return path


def test_every_file_is_there_and_the_report_links_to_no_other(published: Path) -> None:
    stems = ("counts", "sizes", "clusters", "silhouettes", "explanations")
    pictures = {f"{stem}.{ending}" for stem in stems for ending in ("png", "svg")}
    assert {"report.md", "report.html", "features.csv", "study.json"} | pictures == {
        one.name for one in (published / "out").iterdir()
    }
    report = (published / "out" / "report.md").read_text()
    assert [True] * 5 == [f"]({stem}.png)" in report for stem in stems]
    figures = json.loads((published / "out" / "study.json").read_text())
    assert (120, 90, 72) == (figures["traffic"]["calls"], figures["sampled"], figures["train"])


def test_a_sample_is_said_to_be_one(published: Path) -> None:
    assert "a sample of 90 went into the table" in (published / "out" / "report.md").read_text()
    assert 90 == len(list(csv.reader((published / "out" / "features.csv").read_text().splitlines()))) - 1


def test_the_command_tells_what_it_did_and_the_same_store_and_seed_give_the_same_files(published: Path, tmp_path: Path) -> None:
    """In another process, where whatever a hash or an earlier plot leaves behind is another."""
    store = str(published / "store")
    done = run("--store", store, "--out", str(tmp_path / "out"), "--clusters", "auto", "--seed", "5", "--sample", "90")
    assert (0, True) == (done.returncode, done.stderr.startswith("read 120 calls, kept 90 in "))
    files = [{file.name: file.read_bytes() for file in (place / "out").iterdir()} for place in (published, tmp_path)]
    assert files[0] == files[1]


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("records", "clusters"),
    [
        ([browse()], 0),
        ([browse(), order(1)], 2),
        ([browse(), browse(1)], 0),
        ([browse(7, ts=1.75e9 + number, id=f"{number}") for number in range(30)], 0),
        ([browse(7, ts=1.75e9 + number, id=f"{number}", status=200 + 204 * (number % 2)) for number in range(30)], 2),
        ([browse(7, ts=1.75e9 + number, id=f"{number}", resp_size=10 * number) for number in range(30)], 2),
        ([one(number, status=None, resp_size=None, duration_ms=None) for number in range(9) for one in (browse, order)], 2),
        ([browse(number, status=None if number % 2 else 200, resp_size=None) for number in range(30)], 2),
        ([browse(number, label=0) for number in range(30)], 2),
        ([browse(number, label=number % 2 or None, verdict="deny") for number in range(30)], 2),
        ([*[browse(7, ts=1.75e9 + n, id=f"{n}") for n in range(24)], *[order(n) for n in range(2_000, 2_006)]], 0),
        ([browse(number, resp_size=2**62, duration_ms=1e300) for number in range(9)] + shop(9), 2),
    ],
    ids=[
        *("one call", "two calls", "two calls in one cell", "all calls equal", "a single name left", "a single amount left"),
        *("no outcomes", "some outcomes and no sizes", "benign only", "attacks or unknown", "new calls in the test part only"),
        "huge amounts",
    ],
)
def test_odd_traffic_is_studied_without_a_warning(records: list[CallRecord], clusters: int, tmp_path: Path) -> None:
    found = study_of(records, tmp_path, None)
    if clusters:
        assert found.clustering is not None
        assert clusters <= found.clustering.clusters
    report = (tmp_path / "out" / "report.md").read_text()
    assert (found.clustering is None) == ("there is nothing to cluster" in report)
    assert "nan" not in (tmp_path / "out" / "study.json").read_text().lower()


@pytest.mark.usefixtures("coarse")
def test_one_workload_can_be_chosen(tmp_path: Path) -> None:
    found = study_of(
        [*shop(20), *[order(number, workload="shop/pay") for number in range(100, 110)]], tmp_path, workload="shop/pay"
    )
    assert ({"shop/pay": 10}, 10) == (found.traffic.workloads, found.sampled)


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(TrainingError, match="found none"):
        study_of([], tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("calls", "store"), [(None, None), ("a", "b")])
def test_calls_come_from_one_place(calls: str | None, store: str | None, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="expected either --calls FILE or --store DIR"):
        publish_study(calls, store, str(tmp_path), observer=OBSERVER)


@pytest.mark.parametrize(("text", "expected"), [("2", 2), ("10", 10), ("auto", None)])
def test_numbers_of_clusters(text: str, expected: int | None) -> None:
    assert expected == to_wanted(text)


@pytest.mark.parametrize("text", ["", "1", "0", "11", "-2", "two", "²", "9" * 200])
def test_other_numbers_of_clusters_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match="clusters: expected a number from 2 to 10 or auto, got"):
        to_wanted(text)


@pytest.mark.usefixtures("coarse")
def test_a_file_of_calls_gives_the_same_study_under_another_name(tmp_path: Path) -> None:
    lines = [json.dumps({"method": "GET", "path": f"/a/{n}", "resp_size": n % 7, "status": 200 + n % 2}) for n in range(50)]
    outs = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        publish_study(str(tmp_path / f"{name}.jsonl"), None, str(tmp_path / name), sample=20, observer=OBSERVER)
        outs.append((tmp_path / name / "features.csv").read_bytes())
    assert outs[0] == outs[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "trainer", "study", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [("--clusters", "1"), ("--workload", "shop/none")])
def test_the_command_refuses_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run("--store", store_of(shop(3), tmp_path / "store"), "--out", str(tmp_path / "out"), *arguments)
    assert (2, 1, True) == (done.returncode, len(done.stderr.splitlines()), done.stderr.startswith("error: "))


def test_places_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="none"):
        publish_study(None, str(tmp_path / "none"), str(tmp_path / "out"), observer=OBSERVER)
    (tmp_path / "bad").write_text("{")
    with pytest.raises(FormatError, match="line 1"):
        publish_study(str(tmp_path / "bad"), None, str(tmp_path / "out"), observer=OBSERVER)
