"""The plots: which there are, the same bytes each time, and odd names."""

import re
import sys
import warnings

import numpy as np
import pytest
from msgspec.structs import replace

from authz_server.engine.errors import SettingError
from authz_server.engine.record import CallRecord
from tests.trainer.study.traffic import browse, order, sampled, shop
from trainer.study.charts import COLOURS, MARKERS, Plot, label_of, need_matplotlib, places, size_legend
from trainer.study.plots import draw_plots, to_size
from trainer.study.study import run_study


def plots_of(records: list[CallRecord], wanted: int | None = 2) -> dict[str, Plot]:
    return {plot.name: plot for plot in draw_plots(*run_study(sampled(records), 1_000, wanted, 0))}


def labelled(calls: int = 40) -> list[CallRecord]:
    return [
        one(number, label=number % 2, verdict=("allow", "deny")[number % 2]) for number in range(calls) for one in (browse, order)
    ]


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("records", "wanted", "expected"),
    [
        (shop(20), 2, ["counts", "sizes", "clusters", "explanations"]),
        (shop(20), None, ["counts", "sizes", "clusters", "silhouettes", "explanations"]),
        (labelled(), 2, ["counts", "sizes", "clusters", "explanations", "labels", "verdicts"]),
        ([browse()], 2, ["counts", "sizes"]),
        ([browse(resp_size=None)], 2, ["counts"]),
        (
            [one(number, resp_size=None) for number in range(9) for one in (browse, order)],
            2,
            ["counts", "clusters", "explanations"],
        ),
    ],
)
def test_what_can_be_drawn_is(records: list[CallRecord], wanted: int | None, expected: list[str]) -> None:
    assert expected == list(plots_of(records, wanted))


def test_plots_are_the_same_bytes_each_time_and_tell_no_date() -> None:
    first, second = plots_of(shop(15)), plots_of(shop(15))
    assert first == second
    for plot in first.values():
        assert plot.png.startswith(b"\x89PNG")
        assert [] == re.findall(rb"dc:date|https?://matplotlib", plot.svg + plot.png)


@pytest.mark.usefixtures("coarse")
def test_a_plot_takes_any_name() -> None:
    names = [r"$\frac{", "$a$", "_hidden", "日本語", "\u0301\x07", "%s{}", "<a&b>", "x" * 500]
    records = [replace(one(n), method=name, workload=name) for n, name in enumerate(names * 6) for one in (browse, order)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "clusters" in plots_of(records)


@pytest.mark.parametrize(("name", "expected"), [("GET", "GET"), ("日本", "??"), ("", "(empty)"), ("x" * 50, "x" * 33 + "…")])
def test_names_on_plots_are_short_and_in_the_font(name: str, expected: str) -> None:
    assert expected == label_of(name)


def test_marks_are_bounded_and_no_call_is_lost() -> None:
    points = np.random.default_rng(0).normal(size=(50_000, 2))
    where, counts = places(points, points.min(axis=0), points.max(axis=0))
    assert 50_000 == counts.sum()
    assert len(where) < 161**2
    assert counts.tolist() == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("most", "expected"), [(0, [1]), (1, [1]), (10, [1, 10]), (999, [1, 10, 100]), (1_000, [1, 100]), (20_000, [1, 100, 10_000])]
)
def test_the_legend_shows_a_few_sizes_up_to_the_largest(most: int, expected: list[int]) -> None:
    assert expected == size_legend(most)


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "0 B"), (512, "512 B"), (1024, "1 KiB"), (2**26, "64 MiB"), (2**40, "1 TiB"), (2**51, "2,048 TiB")]
)
def test_sizes_are_written_with_their_unit(size: int, expected: str) -> None:
    assert expected == to_size(size)


def test_every_cluster_has_a_colour_and_a_marker_of_its_own() -> None:
    assert (10, 10) == (len(set(COLOURS)), len(set(MARKERS)))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SettingError, match=r"pip install 'meshwarden\[study\]'"):
        need_matplotlib()


def test_someone_elses_matplotlib_settings_are_kept_and_change_nothing() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams.items())
    usual = plots_of([browse(resp_size=None)])
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert usual == plots_of([browse(resp_size=None)])
    assert ["counts"] == list(usual)
    assert before == dict(mpl.rcParams.items())
