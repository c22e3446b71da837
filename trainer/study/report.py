"""The report: every step of the study with its figures, its plots and what they mean, for somebody who never saw the code."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from trainer.study.agreement import Agreement, Part
from trainer.study.charts import Plot
from trainer.study.clusters import AUTO_RANGE
from trainer.study.features import MAX_LEVELS, RARE_SHARE, SKEWED, AmountFeature
from trainer.study.page import Block, Grid, Heading, Points, Text, code
from trainer.study.profile import Profile
from trainer.study.study import Clustering, Placed, Study
from trainer.study.table import share, to_rows
from trainer.study.words import agreed, chosen, explained, few, held, mixed, number, rate, spanned

__all__ = ["to_blocks"]

_SAMPLE_ROWS: Final = 8
_COUNTED: Final = 15


def to_blocks(study: Study, placed: Placed, plots: Sequence[Plot]) -> list[Block]:
    """Write the report."""
    drawn = {plot.name: plot for plot in plots}
    blocks = [Heading(1, "What clustering says about this traffic"), *_summary(study), *_table(study, placed)]
    blocks += [*_dropped(study), *_sizes(study, drawn), *_counts(study, drawn), *_encoding(study)]
    if study.clustering is None:
        blocks += [Heading(2, "Clusters"), Text(_NOTHING)]
    else:
        blocks += [*_components(study.clustering), *_clusters(study, study.clustering, drawn)]
        blocks += [*_explanations(study.clustering, drawn), *_agreements(study.clustering, drawn)]
    return [*blocks, *_made(study)]


_NOTHING: Final = (
    "No column is left that tells calls of the training part apart, so there is nothing to cluster: neither components, clusters"
    " nor their plots were made."
)


def _summary(study: Study) -> Iterator[Block]:
    names = ", ".join([code(one.name) for one in study.dropped])
    dropped = f": {names}" if names else ""
    points = [
        spanned(study),
        *([few(study)] if few(study) else []),
        f"{len(study.dropped)} of {len(study.columns)} columns had nothing to tell calls apart by and were dropped{dropped}.",
    ]
    if study.clustering is None:
        points.append(_NOTHING)
    else:
        points += [mixed(study.clustering), explained(study.clustering)]
        points += [agreed(one) for one in study.clustering.agreements if one.part is Part.ALL]
        if not study.clustering.agreements:
            points.append("Neither labels nor verdicts are known, so whether clusters have to do with attacks can't be said.")
    yield Heading(2, "In short")
    yield Points(tuple(points))


def _table(study: Study, placed: Placed) -> Iterator[Block]:
    yield Heading(2, "The feature table")
    yield Text(
        "One row a call, one column a feature, as an access log shows it. Ids, sessions, addresses and times are no features:"
        " they name a call or a client. Paths are templates, learned as the trainer learns them; what was called fewer than three"
        " times has none and is `(other)`. `features.csv` holds all sampled rows, in time order."
    )
    rows = []
    for column in study.columns:
        frequent = ", ".join([f"{code(name)} {count:,}" for name, count in column.frequent.items()])
        rows.append((code(column.name), column.meaning, frequent or "numbers", f"{column.distinct:,}", f"{column.missing:,}"))
    yield Grid(("column", "meaning", "most frequent", "distinct", "missing"), tuple(rows), 3)
    chosen_rows = np.unique(np.linspace(0, study.sampled - 1, _SAMPLE_ROWS).astype(int)).tolist()
    yield Text(f"{len(chosen_rows)} of the rows, evenly spread over the time:")
    header = ("ts", *[column.name for column in study.columns])
    names = len(placed.table.categories)
    cells = [
        (row[0], *[code(cell) for cell in row[1 : names + 1]], *row[names + 1 :]) for row in to_rows(placed.table, chosen_rows)
    ]
    yield Grid(header, tuple(cells), names + 1)


def _dropped(study: Study) -> Iterator[Block]:
    yield Heading(2, "What was dropped")
    if not study.dropped:
        yield Text("Nothing: every column has at least two values in the training part.")
        return
    yield Text("Columns with one value in the training part tell no calls apart.")
    yield Grid(("column", "why"), tuple([(code(one.name), one.reason) for one in study.dropped]), 2)


def _sizes(study: Study, drawn: dict[str, Plot]) -> Iterator[Block]:
    yield Heading(2, "Sizes and times")
    header = (
        "amount",
        "unit",
        "known",
        "missing",
        "lowest",
        "25%",
        "median",
        "75%",
        "99%",
        "highest",
        "mean",
        "deviation",
        "skewness",
    )
    rows = []
    for one in study.amounts:
        figures = (one.low, one.quarter, one.median, one.three_quarters, one.p99, one.high, one.mean, one.deviation)
        counts = (f"{one.known:,}", f"{one.missing:,}")
        rows.append((code(one.name), one.unit, *counts, *[number(figure) for figure in figures], f"{one.skewness:.2f}"))
    yield Grid(header, tuple(rows), 2)
    if "sizes" in drawn:
        yield drawn["sizes"]
    else:
        yield Text("No response size is known, so requests and responses can't be plotted against each other.")


def _counts(study: Study, drawn: dict[str, Plot]) -> Iterator[Block]:
    yield Heading(2, "Methods and statuses")
    yield drawn["counts"]
    for name, counts in (
        ("method", study.traffic.methods),
        ("status", study.traffic.statuses),
        ("workload", study.traffic.workloads),
    ):
        ranked = list(counts.items())
        rows = [(code(key), f"{count:,}", share(count / study.traffic.calls)) for key, count in ranked[:_COUNTED]]
        rest = sum(count for _, count in ranked[_COUNTED:])
        if rest:
            rows.append((f"{len(ranked) - _COUNTED:,} others", f"{rest:,}", share(rest / study.traffic.calls)))
        yield Grid((name, "calls, of all read", "share"), tuple(rows))


def _encoding(study: Study) -> Iterator[Block]:
    yield Heading(2, "Encoding")
    yield Text(
        "Names become one column a level, 1 where the call has it and else 0 (one-hot): at most"
        f" {MAX_LEVELS} levels a column, the most frequent; further ones, and those with under {RARE_SHARE:.2%} of the training"
        " calls, share the column `(other)`, or whoever invents names would make columns. Amounts with a skewness over"
        f" {SKEWED:g} are replaced by log2(1 + x) where that makes them more even, because a few huge values would otherwise be"
        " all that the components see; then all are brought to mean 0 and deviation 1, so that no unit outweighs another. A"
        " missing amount is replaced by the median; that it was missing is a column of its own, unless another column says so"
        " already. All of it is learned from the training part alone, but path templates, which are the whole sample's. The"
        f" matrix has {study.matrix_columns} columns."
    )
    rows = [
        (
            code(one.name),
            f"{len(one.levels)} levels" + (f"; {one.folded:,} others with {one.folded_calls:,} calls" if one.folded else ""),
        )
        for one in study.encoded_categories
    ]
    rows += [(code(one.name), _treatment(one)) for one in study.encoded_amounts]
    if rows:
        yield Grid(("column", "how it is encoded"), tuple(rows), 2)
    if study.twins:
        pairs = ", ".join([f"{code(one.first)} and {code(one.second)}" for one in study.twins])
        yield Text(f"These columns tell each other completely, so what they say counts twice: {pairs}.")


def _treatment(one: AmountFeature) -> str:
    parts = []
    if one.constant:
        parts.append("always the same where it is known")
    elif one.log:
        parts.append(f"logarithm: skewness {one.skewness:.2f} becomes {one.log_skewness:.2f}")
    else:
        parts.append(f"as it is: skewness {one.skewness:.2f}")
    if one.missing:
        parts.append(f"{one.missing:,} missing of the training calls are the median, {number(one.fill)}")
        parts.append("a column says which" if one.flagged else "another column says which")
    return "; ".join(parts)


def _components(clustering: Clustering) -> Iterator[Block]:
    yield Heading(2, "Two principal components")
    yield Text(
        "PCA turns the matrix into the two directions along which the training calls differ most. The first holds"
        f" {share(clustering.explained[0])} of the variance, the second {share(clustering.explained[1])}. What weighs most in"
        " them:"
    )
    rows = []
    for place in range(max(len(one) for one in clustering.loadings)):
        row = []
        for loadings in clustering.loadings:
            row += [code(loadings[place].name), f"{loadings[place].weight:+.3f}"] if place < len(loadings) else ["", ""]
        rows.append(tuple(row))
    yield Grid(("first component", "weight", "second component", "weight"), tuple(rows))


def _clusters(study: Study, clustering: Clustering, drawn: dict[str, Plot]) -> Iterator[Block]:
    yield Heading(2, "Clusters")
    yield Text(
        f"k-means in that plane, fitted on the first {study.train:,} sampled calls in time order (80%) and applied to the last"
        f" {study.sampled - study.train:,} (20%). The cut is in time, not at random: neighbouring calls belong together (a"
        " session, a burst), and a random cut would put such neighbours on both sides and flatter the result; what matters is"
        " whether yesterday's clusters fit today's calls. Clusters are numbered from the largest to the smallest in the training"
        f" part. {chosen(study, clustering)}"
    )
    yield drawn["clusters"]
    if "silhouettes" in drawn:
        yield Text(
            f"Tried were {AUTO_RANGE[0]} to {AUTO_RANGE[-1]} clusters, with the mean silhouette on at most 2,000 evenly spread"
            " training calls."
        )
        yield drawn["silhouettes"]
    rows = []
    for one, train, test in zip(
        clustering.profiles, clustering.holding.train_shares, clustering.holding.test_shares, strict=True
    ):
        tested = share(test) if study.sampled > study.train else "-"
        rows.append((str(one.cluster), _traits(one), _medians(one), f"{one.calls:,}", share(train), tested))
    yield Grid(("cluster", "special in it (inside, elsewhere)", "medians", "calls", "of training", "of test"), tuple(rows), 3)
    yield Text(held(clustering))


def _traits(one: Profile) -> str:
    parts = [f"{code(f'{t.name} = {t.level}')} ({t.inside:.0%}, {t.outside:.0%})" for t in one.traits]
    return ", ".join(parts) or "nothing"


def _medians(one: Profile) -> str:
    return ", ".join([f"{code(name)} {number(value)}" for name, value in one.medians.items()])


def _explanations(clustering: Clustering, drawn: dict[str, Plot]) -> Iterator[Block]:
    yield Heading(2, "What the clusters restate")
    yield Text(
        "For each feature: how much of the clusters it tells by itself (mutual information with the cluster, as a share of the"
        " clusters' entropy; amounts in ten bins), and how many calls' clusters can be guessed from it."
    )
    yield drawn["explanations"]
    rows = [(code(one.name), share(one.information), share(one.guessed)) for one in clustering.explanations]
    yield Grid(("feature", "information", "guessed right"), tuple(rows))
    yield Text(explained(clustering))


def _agreements(clustering: Clustering, drawn: dict[str, Plot]) -> Iterator[Block]:
    yield Heading(2, "Agreement with labels and verdicts")
    if not clustering.agreements:
        yield Text("No call has a label or a verdict, so there is nothing to hold the clusters against.")
        return
    yield Text(
        "The clusters were made without looking at either. Labels are those that came with the traffic; verdicts are what this"
        " project's own models said when the calls were made, which is no ground truth. Intervals are 95%."
    )
    yield Points(tuple([agreed(one) for one in clustering.agreements]))
    header = ("against", "calls", "positives", "adjusted Rand", "homogeneity", "completeness", "purity", "without clusters")
    yield Grid(header, tuple([_agreement(one) for one in clustering.agreements]))
    drift = _drift(clustering.agreements)
    if drift:
        yield Text(drift)
    for name in ("labels", "verdicts"):
        if name in drawn:
            yield drawn[name]
    for one in clustering.agreements:
        if one.part is Part.ALL and one.rand is not None:
            yield from _readings(one)


def _agreement(one: Agreement) -> tuple[str, ...]:
    figures = [f"{value:.3f}" if value is not None else "-" for value in (one.rand, one.homogeneity, one.completeness)]
    name = f"{one.against}, {one.part.value}"
    return (name, f"{one.n:,}", f"{one.positives:,} {one.positive}", *figures, share(one.purity), share(one.majority))


def _drift(agreements: Sequence[Agreement]) -> str:
    """Warn where attacks aren't spread over the time, so that the two parts can't be compared."""
    labels = {one.part: one for one in agreements if one.against == "labels"}
    if len(labels) < len(Part):
        return ""
    whole, test = labels[Part.ALL], labels[Part.TEST]
    calls, attacks = whole.n - test.n, whole.positives - test.positives
    before, after = attacks / max(1, calls), test.positives / test.n
    if abs(before - after) <= 0.1:
        return ""
    return (
        f"Attacks aren't spread evenly over the time: {share(before)} of the training part, {share(after)} of the test part. The"
        " clusters were fitted on another mixture than they are tested on."
    )


def _readings(agreement: Agreement) -> Iterator[Block]:
    yield Text(
        f"Each cluster, if it were the one read as 'anomalous' (against {agreement.against}, all sampled calls). The smallest in"
        f" the training part is cluster {agreement.smallest}:"
    )
    rows = [(str(one.cluster), rate(one.true_positives), rate(one.false_positives)) for one in agreement.readings]
    yield Grid(("cluster", f"share of '{agreement.positive}' in it", "share of the rest in it"), tuple(rows))
    if len(agreement.kinds) > 1:
        header = ("kind", *[f"in cluster {one.cluster}" for one in agreement.readings])
        yield Grid(header, tuple([(code(kind), *[f"{count:,}" for count in counts]) for kind, counts in agreement.kinds.items()]))


def _made(study: Study) -> Iterator[Block]:
    yield Heading(2, "How it was made")
    workload = f", workload {code(study.workload)}" if study.workload else ""
    yield Text(
        f"Seed {study.seed}, at most {study.limit:,} sampled calls{workload}. The sample is those calls whose ids hash lowest"
        " under the seed: chosen without looking at them, so shares in it estimate shares of the whole. Counts of methods,"
        " statuses and workloads are of all calls read; everything else is of the sample. The same calls, seed and libraries give"
        " the same files. All figures are in `study.json`. This study describes; what refuses calls is another model, calibrated"
        " on normal traffic."
    )
