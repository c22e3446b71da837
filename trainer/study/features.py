"""From the table to a matrix of numbers: one column a frequent level of a category, one an amount, scaled.

Everything here is learned from the training part alone: which columns say anything, levels, medians, logarithms, scales.
"""

import math
from collections import Counter
from typing import Final

import msgspec
import numpy as np

from trainer.study.sample import OTHER
from trainer.study.table import Floats, Table, shown, skewness

__all__ = [
    "MAX_LEVELS",
    "RARE_SHARE",
    "SKEWED",
    "AmountFeature",
    "CategoryFeature",
    "Dropped",
    "Encoding",
    "encode",
    "fit_encoding",
    "levels_of",
]

MAX_LEVELS: Final = 20
"""Levels of a category that get a column each, the most frequent; the rest share one, or whoever invents names makes columns."""
RARE_SHARE: Final = 0.0005
"""Levels with less of the training calls share that column too: a column that is nearly always 0 is noise."""
SKEWED: Final = 1.0
"""Skewness from which on the logarithm is taken."""
_NO_SPREAD: Final = 1e-9


class CategoryFeature(msgspec.Struct, frozen=True):
    """`levels` that have a column each; `folded` others share the column `(other)`, with `folded_calls` training calls."""

    name: str
    levels: tuple[str, ...]
    folded: int
    folded_calls: int


class AmountFeature(msgspec.Struct, frozen=True):
    """(log2(1 + x) if `log` else x), missing ones filled with the median `fill`, less `centre`, by `scale`.

    `skewness` before and `log_skewness` after a logarithm. `constant`: all known values are equal, only `flagged` says anything.
    `flagged`: another column is 1 where the amount is missing; not where `missing` and another column say the same anyway.
    """

    name: str
    log: bool
    skewness: float
    log_skewness: float
    fill: float
    centre: float
    scale: float
    missing: int
    flagged: bool
    constant: bool


class Dropped(msgspec.Struct, frozen=True):
    """A column that isn't used, and why."""

    name: str
    reason: str


class Encoding(msgspec.Struct, frozen=True):
    """How a table becomes a matrix."""

    categories: tuple[CategoryFeature, ...]
    amounts: tuple[AmountFeature, ...]
    dropped: tuple[Dropped, ...]

    @property
    def names(self) -> list[str]:
        """Name the matrix's columns."""
        names = [f"{feature.name} = {shown(level)}" for feature in self.categories for level in _with_other(feature)]
        for amount in self.amounts:
            names += [] if amount.constant else [amount.name]
            names += [f"{amount.name} is missing"] if amount.flagged else []
        return names


def fit_encoding(table: Table) -> Encoding:
    """Learn the encoding from the training part."""
    categories, amounts, dropped = [], [], []
    for name, values in table.categories.items():
        feature = _fit_category(name, values[: table.train])
        if isinstance(feature, Dropped):
            dropped.append(feature)
        else:
            categories.append(feature)
    said = set()
    for feature in categories:
        encoded = encode_category(feature, table.categories[feature.name][: table.train])
        said |= {column.tobytes() for column in encoded.T}
    for name, column in table.amounts.items():
        amount = _fit_amount(name, column[: table.train], said)
        if isinstance(amount, Dropped):
            dropped.append(amount)
        else:
            amounts.append(amount)
    return Encoding(tuple(categories), tuple(amounts), tuple(dropped))


def _fit_category(name: str, values: list[str]) -> CategoryFeature | Dropped:
    counts = Counter(values)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ranked) == 1:
        return Dropped(name, f"always `{shown(ranked[0][0])}`")
    enough = RARE_SHARE * len(values)
    levels = [level for level, count in ranked[:MAX_LEVELS] if count >= enough and level != OTHER]
    folded = [count for level, count in ranked if level not in levels]
    if len(levels) + bool(folded) < 2:
        return Dropped(name, f"{len(ranked):,} values, each in less than {RARE_SHARE:.2%} of the calls")
    return CategoryFeature(name, tuple(levels), len(folded), sum(folded))


def _fit_amount(name: str, column: Floats, said: set[bytes]) -> AmountFeature | Dropped:
    gone = np.isnan(column)
    known = column[~gone]
    if not len(known):
        return Dropped(name, "not known of any call")
    before, after = skewness(known), skewness(np.log2(1.0 + known))
    log = before > SKEWED and abs(after) < before
    fill = float(np.median(known))
    filled = _logged(np.where(gone, fill, column), log=log)
    centre, scale = float(filled.mean()), float(filled.std())
    constant = scale <= _NO_SPREAD * (1.0 + abs(centre))
    flag = gone.astype(np.float64).tobytes()
    flagged = bool(gone.any()) and flag not in said
    said.add(flag)
    if constant and not flagged:
        return Dropped(name, f"always {known[0]:g}" + (" where it is known" if gone.any() else ""))
    return AmountFeature(name, log, before, after, fill, centre, 1.0 if constant else scale, int(gone.sum()), flagged, constant)


def _logged(values: Floats, *, log: bool) -> Floats:
    logged: Floats = np.log2(1.0 + values) if log else values
    return logged


def _with_other(feature: CategoryFeature) -> tuple[str, ...]:
    return (*feature.levels, OTHER) if feature.folded else feature.levels


def levels_of(feature: CategoryFeature, values: list[str]) -> list[str]:
    """Replace levels that have no column by `(other)`."""
    known = set(feature.levels)
    return [value if value in known else OTHER for value in values]


def encode_category(feature: CategoryFeature, values: list[str]) -> Floats:
    """Make a column a level; a level that the training part hadn't is `(other)`, all 0 where there is no such column."""
    index = {level: number for number, level in enumerate(_with_other(feature))}
    encoded = np.zeros((len(values), len(index)))
    for row, value in enumerate(values):
        column = index.get(value, index.get(OTHER))
        if column is not None:
            encoded[row, column] = 1.0
    return encoded


def encode(table: Table, encoding: Encoding) -> Floats:
    """Make the matrix, a row a call, its columns as in `Encoding.names`; all finite."""
    blocks = [encode_category(feature, table.categories[feature.name]) for feature in encoding.categories]
    for amount in encoding.amounts:
        column = table.amounts[amount.name]
        gone = np.isnan(column)
        if not amount.constant:
            filled = _logged(np.where(gone, amount.fill, column), log=amount.log)
            blocks.append(((filled - amount.centre) / amount.scale)[:, np.newaxis])
        if amount.flagged:
            blocks.append(gone.astype(np.float64)[:, np.newaxis])
    matrix: Floats = np.hstack(blocks) if blocks else np.zeros((len(table), 0))
    assert math.isfinite(float(matrix.sum()))
    return matrix
