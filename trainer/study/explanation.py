"""What the clusters restate: how much each feature alone tells about a call's cluster, and which columns say the same.

Measured by mutual information on the levels and bins of the sample. Clusters that one column foretells are that column under
another name, whatever they are called afterwards.
"""

from typing import Final

import msgspec
import numpy as np

from trainer.study.clusters import Integers
from trainer.study.features import Encoding, levels_of
from trainer.study.table import Floats, Table

__all__ = ["Explanation", "Twins", "bin_names", "explain", "find_twins"]

_BINS: Final = 10
"""Bins of an amount, with as many calls each as ties allow."""
_SAME: Final = 0.999
"""Share of each other's information from which on two columns say the same."""


class Explanation(msgspec.Struct, frozen=True):
    """What one feature tells about the cluster.

    `information`: mutual information as a share of the clusters' entropy, 0 to 1, less its expected value for a feature that
    tells nothing (Miller 1955). `guessed`: share of calls whose cluster is guessed right from the feature alone; compare with
    the share of the largest cluster.
    """

    name: str
    information: float
    guessed: float


class Twins(msgspec.Struct, frozen=True):
    """Two columns that tell each other, and so count twice."""

    first: str
    second: str


def explain(table: Table, encoding: Encoding, clusters: Integers) -> tuple[Explanation, ...]:
    """Explain the clusters by each feature used, the most telling first."""
    found = []
    for name, values in _discrete(table, encoding).items():
        counts = _cross(values, clusters)
        guessed = float(counts.max(axis=1).sum() / counts.sum())
        found.append(Explanation(name, round(_information(counts), 6), round(guessed, 6)))
    return tuple(sorted(found, key=lambda one: (-one.information, one.name)))


def find_twins(table: Table, encoding: Encoding) -> tuple[Twins, ...]:
    """List pairs of used columns of which each tells the other."""
    columns = list(_discrete(table, encoding).items())
    found = []
    for number, (first, values) in enumerate(columns):
        for second, others in columns[number + 1 :]:
            counts = _cross(values, others)
            if min(_information(counts), _information(counts.T)) >= _SAME:
                found.append(Twins(first, second))
    return tuple(found)


def _discrete(table: Table, encoding: Encoding) -> dict[str, Integers]:
    """Number the levels of categories and the bins of amounts."""
    columns = {one.name: levels_of(one, table.categories[one.name]) for one in encoding.categories}
    columns |= {one.name: bin_names(table.amounts[one.name]) for one in encoding.amounts}
    return {name: np.unique(np.array(values, dtype=str), return_inverse=True)[1] for name, values in columns.items()}


def bin_names(amounts: Floats) -> list[str]:
    """Sort amounts into at most `_BINS` bins, the missing ones into one of their own."""
    gone = np.isnan(amounts)
    edges = np.unique(np.percentile(amounts[~gone], np.linspace(0, 100, _BINS + 1)[1:-1])) if not gone.all() else np.zeros(0)
    bins = np.searchsorted(edges, np.where(gone, 0.0, amounts), side="left")
    return ["missing" if missing else str(one) for one, missing in zip(bins.tolist(), gone.tolist(), strict=True)]


def _cross(rows: Integers, columns: Integers) -> Floats:
    rows, columns = np.asarray(rows, dtype=int), np.asarray(columns, dtype=int)
    counts: Floats = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1))
    np.add.at(counts, (rows, columns), 1.0)
    return counts[:, counts.sum(axis=0) > 0]


def _information(counts: Floats) -> float:
    """Share of the columns' entropy that the rows tell, in [0, 1]; 0 where there is no entropy."""
    n = counts.sum()
    entropy = _entropy(counts.sum(axis=0) / n)
    if entropy <= 0.0:
        return 0.0
    mutual = _entropy(counts.sum(axis=1) / n) + entropy - _entropy((counts / n).ravel())
    filled = [int((counts.sum(axis=axis) > 0).sum()) for axis in (0, 1)]
    independent = (filled[0] - 1) * (filled[1] - 1) / (2.0 * n)
    if mutual >= _SAME * entropy:  # it can't be by chance alone that everything is told
        return 1.0
    return float(min(1.0, max(0.0, (mutual - independent) / entropy)))


def _entropy(shares: Floats) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
