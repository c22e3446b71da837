"""The command's main line: calls in, files out."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from authz_server.enforcement import load_enforcement
from authz_server.engine.errors import SettingError, cut
from authz_server.engine.observe import Observer
from authz_server.engine.record import CallRecord
from authz_server.place import open_place
from trainer.imports import iter_calls_file
from trainer.store import read_calls
from trainer.study.charts import need_matplotlib
from trainer.study.page import to_html, to_markdown
from trainer.study.plots import draw_plots
from trainer.study.report import to_blocks
from trainer.study.sample import draw_sample
from trainer.study.study import Study, run_study
from trainer.study.table import to_csv

__all__ = ["AUTO", "SAMPLE", "publish_study", "to_wanted"]

AUTO: Final = "auto"
SAMPLE: Final = 20_000
"""Calls that are looked at by default: enough for shares to a percent, a minute of work, some hundred megabytes."""
_MAX_CLUSTERS: Final = 10
_encode = msgspec.json.Encoder().encode


def to_wanted(clusters: str) -> int | None:
    """Read a number of clusters, 2 to 10, or `auto` (None); raises SettingError."""
    if clusters == AUTO:
        return None
    if clusters.isascii() and clusters.isdigit() and len(clusters) < 3 and 2 <= int(clusters) <= _MAX_CLUSTERS:
        return int(clusters)
    raise SettingError(f"clusters: expected a number from 2 to {_MAX_CLUSTERS} or {AUTO}, got {cut(clusters)}")


def publish_study(
    calls: str | None,
    store: str | None,
    out: str,
    *,
    wanted: int | None = 2,
    workload: str | None = None,
    seed: int = 0,
    sample: int = SAMPLE,
    observer: Observer,
    policy: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Study:
    """Study a file of calls or a store, exactly one of them, and write everything into `out`, a directory or fsspec URL.

    `progress` is told what was done and how long it took. Raises MeshwardenError.
    """
    if (calls is None) == (store is None):
        raise SettingError("expected either --calls FILE or --store DIR")
    need_matplotlib()
    place = open_place(out)
    clock = _Clock(progress)
    sampled = draw_sample(_keyed(calls, store, observer, policy), sample, seed, workload)
    clock.tell(f"read {sampled.traffic.calls:,} calls, kept {len(sampled.calls):,}")
    study, placed = run_study(sampled, sample, wanted, seed, workload)
    clock.tell("encoded and clustered")
    plots = draw_plots(study, placed)
    blocks = to_blocks(study, placed, plots)
    files = {
        "features.csv": to_csv(placed.table, placed.points, placed.clusters),
        "study.json": msgspec.json.format(_encode(study), indent=2) + b"\n",
        "report.md": to_markdown(blocks),
        "report.html": to_html(blocks),
        **{f"{plot.name}.png": plot.png for plot in plots},
        **{f"{plot.name}.svg": plot.svg for plot in plots},
    }
    for name, data in files.items():
        place.write(name, data)
    clock.tell(f"wrote {len(files)} files into {out}")
    return study


class _Clock:
    """Tells each step and the time it took, on the terminal alone: files must not depend on it."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._since = time.monotonic()

    def tell(self, step: str) -> None:
        now = time.monotonic()
        self._progress(f"{step} in {now - self._since:.1f} s")
        self._since = now


def _keyed(calls: str | None, store: str | None, observer: Observer, policy: Path | None) -> Iterator[tuple[str, CallRecord]]:
    """Give each call a key: its id, or its number in a file, so that the file's name doesn't matter."""
    if calls is not None:
        records: Iterable[CallRecord] = iter_calls_file(calls, observer, load_enforcement(policy))
        for number, record in enumerate(records):
            yield str(number), record
    else:
        for record in read_calls(store or ""):
            yield record.id, record
