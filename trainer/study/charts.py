"""How every plot looks and is written: colours, markers, marks for many calls at one place, PNG and SVG bytes.

Colours are Okabe and Ito's (2008), which survive the usual colour blindness; each goes with a marker of its own, so that nothing
depends on colour. Same figure, same bytes: no date, no version, no random ids. Nothing is read but matplotlib's own fonts.
"""

import io
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np

from authz_server.engine.errors import SettingError
from trainer.plural import plural
from trainer.study.table import Floats, shown

__all__ = [
    "COLOURS",
    "MARKERS",
    "Mark",
    "Plot",
    "draw",
    "label_of",
    "legend",
    "need_matplotlib",
    "places",
    "scatter",
    "size_legend",
    "to_plot",
]

COLOURS: Final = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#F0E442", "#000000", "#999999", "#7A4B00"),
)
"""Okabe and Ito's eight, grey, and a brown as dark as none of them."""
MARKERS: Final = ("o", "^", "s", "D", "v", "P", "h", "<", ">", "*")
_CELLS: Final = 160
"""Places along each axis that are told apart; calls at one place are one mark, whose area grows with their number."""
_DOTS: Final = 110
"""Dots per inch of PNG files."""
_BELOW: Final = 54.0
"""Points from an axis to the legend below it: room for numbers and two lines of text."""
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 12.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.fontsize": 9.0,
    "figure.dpi": _DOTS,
    "savefig.dpi": _DOTS,
    "svg.hashsalt": "meshwarden study",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "text.usetex": False,
}


class Plot(msgspec.Struct, frozen=True):
    """One picture: the stem of its file's name, what it shows in words, and its bytes in both formats."""

    name: str
    caption: str
    png: bytes
    svg: bytes


class Mark(msgspec.Struct, frozen=True):
    """What is drawn for one group of calls: its name in the legend, and its number, which chooses colour and marker."""

    name: str
    number: int


def need_matplotlib() -> None:
    """Raise SettingError, naming the extra, where matplotlib isn't installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingError("study: expected matplotlib for the plots: pip install 'meshwarden[study]'") from error
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # or the first study on a machine tells of its cache of fonts


@contextmanager
def draw(width: float, height: float, columns: int = 1, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Give a figure of so many inches, and its axes (an array of them for several columns), in the style of all plots."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(1, columns, **options)


def to_plot(figure: Any, name: str, caption: str) -> Plot:
    """Write a figure in both formats; within `draw`. The canvases are asked themselves: `savefig` draws twice as often."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = io.BytesIO(), io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(png, metadata={"Software": None})
    figure.set_layout_engine("none")  # the layout stands
    canvas = FigureCanvasSVG(figure)
    canvas.print_svg(svg, metadata={"Date": None, "Creator": None})
    return Plot(name, caption, png.getvalue(), svg.getvalue())


def label_of(text: str, most: int = 34) -> str:
    """Make a name fit for a plot: printable ASCII and Latin-1 only, which the font has, and not too long."""
    text = "".join([char if char.isprintable() and (char < "\u0100" or char == "…") else "?" for char in shown(text)])
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text or "(empty)"


def places(points: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Put calls that lie close to each other together: places and how many calls are at each, the most first.

    `low` and `high` are the corners of what is shown. So the number of marks is bounded, and thousands of equal calls show.
    """
    span = np.where(high > low, high - low, 1.0)
    cells = np.round((points - low) / span * _CELLS)
    found, counts = np.unique(cells, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return low + found[order] / _CELLS * span, counts[order].astype(np.float64)


def area(count: Floats | float) -> Any:
    """Area of a mark for so many calls, in points squared: by the logarithm, so that one call still shows."""
    return 14.0 + 26.0 * np.log10(count)


def scatter(axes: Any, points: Floats, groups: Sequence[int], marks: Sequence[Mark], low: Floats, high: Floats) -> None:
    """Draw calls in groups, a colour and a marker each, within the corners; groups without calls have no mark."""
    for index, mark in enumerate(marks):
        chosen = points[np.array(groups) == index]
        if len(chosen):
            where, counts = places(chosen, low, high)
            axes.scatter(
                *where.T,
                s=area(counts),
                c=COLOURS[mark.number % len(COLOURS)],
                marker=MARKERS[mark.number % len(MARKERS)],
                alpha=0.75,
                linewidths=0.5,
                edgecolors="white",
                label=mark.name,
                zorder=3,
            )


def legend(axes: Any, title: str, most: int) -> None:
    """Add a legend below the axes, where it hides no call: the groups, and what the area of a mark means, up to `most` calls."""
    from matplotlib.transforms import ScaledTranslation

    handles, names = axes.get_legend_handles_labels()
    groups = len(names)
    for size in size_legend(most):
        handles.append(axes.scatter([], [], s=area(size), c="#BBBBBB", marker="o", edgecolors="#555555", linewidths=0.5))
        names.append(f"{plural(size, 'call')} at one place")
    made = axes.legend(
        handles,
        names,
        title=title,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=axes.transAxes + ScaledTranslation(0.0, -_BELOW / 72.0, axes.figure.dpi_scale_trans),
        borderaxespad=0.0,
        ncols=min(3, len(names)),
    )
    for handle in made.legend_handles[:groups]:
        handle.set_sizes([45.0])


def size_legend(most: int) -> list[int]:
    """Choose the numbers of calls whose marks the legend shows."""
    return [10**power for power in range(0, int(math.log10(max(1, most))) + 1, 2 if most >= 1000 else 1)][:3]
