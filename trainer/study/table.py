"""The feature table: a row a sampled call in time order, a column a feature; the first 80 % of the rows are the training part.

The cut is in time, not at random: neighbouring calls belong together (a session, a burst, a page and what it loads), and a
random cut puts such neighbours on both sides, so that what was learned looks as if it held for calls that nobody has seen. What a
guard has to know is whether yesterday's clusters fit today's calls.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from authz_server.engine.call import Call
from authz_server.engine.endpoint import EndpointTable
from trainer.fit_endpoint import EndpointLearner
from trainer.study.sample import OTHER
from trainer.study.telemetry import AMOUNTS, CATEGORIES, Telemetry
from trainer.support import Quorum

__all__ = [
    "TRAIN_SHARE",
    "Amount",
    "Column",
    "Table",
    "amounts_of",
    "columns_of",
    "share",
    "shown",
    "skewness",
    "to_csv",
    "to_rows",
    "to_table",
]

TRAIN_SHARE: Final = 0.8
_PATH: Final = list(CATEGORIES).index("path")
_SHOWN: Final = 80
"""Characters of a name that are shown."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell; callers choose methods and paths."""

Floats = NDArray[np.float64]


class Table(msgspec.Struct, frozen=True):
    """Columns by name, as long as `ts`; an amount that isn't known is NaN. The first `train` rows are the training part."""

    ts: Any
    categories: dict[str, list[str]]
    amounts: dict[str, Any]
    labels: list[int | None]
    attacks: list[str]
    verdicts: list[str]
    train: int

    def __len__(self) -> int:
        return len(self.labels)


class Amount(msgspec.Struct, frozen=True):
    """Statistics of a column of numbers over the sample, in its unit. `skewness` is 0 where all values are equal."""

    name: str
    unit: str
    known: int
    missing: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    p99: float
    high: float
    mean: float
    deviation: float
    skewness: float


class Column(msgspec.Struct, frozen=True):
    """A column, described: its distinct values and missing ones in the sample, and the most frequent values of a category."""

    name: str
    meaning: str
    distinct: int
    missing: int
    frequent: dict[str, int]


def to_table(calls: Sequence[Telemetry]) -> Table:
    """Make the table of calls in time order, at least one. A path with fewer than three calls has no template: `(other)`."""
    columns = [list(column) for column in zip(*[call.categories for call in calls], strict=True)]
    columns[_PATH] = _paths(calls)
    amounts = np.array([[np.nan if one is None else one for one in call.amounts] for call in calls], dtype=np.float64)
    return Table(
        np.array([call.ts for call in calls]),
        dict(zip(CATEGORIES, columns, strict=True)),
        {name: amounts[:, index] for index, name in enumerate(AMOUNTS)},
        [call.label for call in calls],
        [call.attack for call in calls],
        [call.verdict for call in calls],
        max(1, round(TRAIN_SHARE * len(calls))),
    )


def _paths(calls: Sequence[Telemetry]) -> list[str]:
    """Replace paths by their templates, as the trainer learns them, for each workload."""
    learners: dict[str, EndpointLearner] = {}
    made = [(call.categories[1], Call(call.ts, call.categories[1], call.categories[2], call.segments)) for call in calls]
    for workload, call in made:
        learners.setdefault(workload, EndpointLearner()).update(call, "")
    tables = {name: EndpointTable(learner.finish(Quorum())[0]) for name, learner in learners.items()}
    found = (tables[workload].match(call.method, call.segments)[0] for workload, call in made)
    return [endpoint.partition(" ")[2] or OTHER for endpoint in found]


def columns_of(table: Table) -> tuple[Column, ...]:
    """Describe all columns."""
    columns = []
    for name, values in table.categories.items():
        names, counts = np.unique(np.array(values, dtype=object), return_counts=True)
        ranked = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda item: (-item[1], item[0]))
        columns.append(Column(name, CATEGORIES[name], len(ranked), 0, {shown(key): count for key, count in ranked[:5]}))
    for name, amounts in table.amounts.items():
        known = amounts[~np.isnan(amounts)]
        unit, meaning = AMOUNTS[name]
        columns.append(Column(name, f"{meaning}, in {unit}", len(np.unique(known)), len(amounts) - len(known), {}))
    return tuple(columns)


def amounts_of(table: Table) -> tuple[Amount, ...]:
    """Describe the columns of numbers that have any."""
    described = []
    for name, column in table.amounts.items():
        known = column[~np.isnan(column)]
        if len(known):
            points = np.percentile(known, [0, 25, 50, 75, 99, 100]).tolist()
            figures = (*points, float(known.mean()), float(known.std()), skewness(known))
            described.append(Amount(name, AMOUNTS[name][0], len(known), len(column) - len(known), *figures))
    return tuple(described)


def skewness(values: Floats) -> float:
    """Measure the third standardised moment: 0 for a symmetric distribution, above 1 with a long tail of large values."""
    centred = values - values.mean()
    deviation = float(np.sqrt((centred**2).mean()))
    return float((centred**3).mean()) / deviation**3 if deviation > 1e-12 * (1.0 + abs(float(values.mean()))) else 0.0


def shown(text: str) -> str:
    """Cut a name to what fits into a table and onto a plot; what can't be printed is `?`."""
    text = "".join([char if char.isprintable() else "?" for char in text[: _SHOWN + 1].encode("utf-8", "replace").decode()])
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def share(value: float) -> str:
    """Write a share in percent; what isn't 0 doesn't read as 0.

    >>> share(0.5), share(0.0001)
    ('50.0%', '<0.1%')
    """
    return "<0.1%" if 0.0 < value < 0.0005 else f"{value:.1%}"


def to_rows(table: Table, rows: Sequence[int]) -> list[list[str]]:
    """Show some rows: time, categories, amounts; an unknown amount is empty."""
    return [
        [
            f"{table.ts[row]:.3f}",
            *[shown(values[row]) for values in table.categories.values()],
            *["" if np.isnan(values[row]) else f"{values[row]:.10g}" for values in table.amounts.values()],
        ]
        for row in rows
    ]


def to_csv(table: Table, points: Floats | None, clusters: Sequence[int] | None) -> bytes:
    """Write the table, with the place in the plane and the cluster (from 1) of each row where there are any."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    placed = [] if points is None or clusters is None else ["component_1", "component_2", "cluster"]
    writer.writerow(["ts", *table.categories, *table.amounts, "part", "label", "attack", "verdict", *placed])
    for number, row in enumerate(to_rows(table, range(len(table)))):
        label = table.labels[number]
        row += ["train" if number < table.train else "test", "" if label is None else str(label)]
        row += [shown(table.attacks[number]), table.verdicts[number]]
        if points is not None and clusters is not None:
            row += [f"{points[number][0]:.6f}", f"{points[number][1]:.6f}", str(clusters[number] + 1)]
        writer.writerow([_inert(cell) for cell in row])
    return stream.getvalue().encode()


def _inert(cell: str) -> str:
    """Keep a spreadsheet from running a cell; numbers stay numbers."""
    if not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell
