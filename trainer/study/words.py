"""What the figures mean, in sentences that don't say more than they do."""

from datetime import UTC, datetime
from typing import Final

from trainer.evaluate import FEW, Rate
from trainer.plural import plural
from trainer.study.agreement import Agreement, Part
from trainer.study.clusters import AUTO_RANGE
from trainer.study.page import code
from trainer.study.study import Clustering, Study
from trainer.study.table import share

__all__ = ["agreed", "chosen", "explained", "few", "held", "mixed", "moment", "number", "rate", "spanned"]

_EPOCH_FROM: Final = 1e8
"""Times below are numbers of lines, not seconds since 1970."""
_YEAR_5138: Final = 1e11
_RESTATED: Final = 0.8
_HINTED: Final = 0.4
_CHANCE: Final = 0.05
_WEAK: Final = 0.3
_GOOD: Final = 0.8
_NO_GAIN: Final = 0.01


def number(value: float) -> str:
    """Write a figure with four significant digits, thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rate(value: Rate) -> str:
    """Write a rate with its interval."""
    if value.rate is None:
        return "-"
    return f"{value.rate:.1%} ({value.low:.1%} to {value.high:.1%})"


def moment(ts: float) -> str:
    """Write a time; a file without times counts lines."""
    if ts < _EPOCH_FROM:
        return f"line {ts:,.0f}"
    if ts >= _YEAR_5138:
        return f"{ts:g} s"
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def spanned(study: Study) -> str:
    """Tell how much of the traffic was looked at."""
    traffic = study.traffic
    workloads = f"workload {code(study.workload)}" if study.workload else plural(len(traffic.workloads), "workload")
    sampled = "all of them" if study.sampled == traffic.calls else f"a sample of {study.sampled:,}"
    return (
        f"{traffic.calls:,} calls to {workloads} were read, from {moment(traffic.first)} to {moment(traffic.last)};"
        f" {sampled} went into the table."
    )


def few(study: Study) -> str:
    """Warn of a sample, or a part of it, that is too small for its figures to hold; empty where it isn't."""
    test = study.sampled - study.train
    if study.sampled < FEW:
        what = f"Only {plural(study.sampled, 'call')} went into the table"
    elif test < FEW:
        what = f"Only {plural(test, 'call')} are in the test part"
    else:
        return ""
    return f"**{what}: figures that rest on fewer than {FEW} calls may look quite different with the next few calls.**"


def mixed(clustering: Clustering) -> str:
    """Tell how many clusters there are and how much of what differs between calls they could be made from."""
    explained = sum(clustering.explained)
    shares = [one.calls for one in clustering.profiles]
    sizes = f"the largest holds {share(max(shares) / sum(shares))} of the calls, the smallest {share(min(shares) / sum(shares))}"
    told = f"The two principal components hold {share(explained)} of the variance"
    if explained < 0.6:
        told += ": k-means doesn't see the rest of what differs between calls"
    return f"k-means made {plural(clustering.clusters, 'cluster')}; {sizes}. {told}."


def chosen(study: Study, clustering: Clustering) -> str:
    """Tell how the number of clusters came about."""
    if study.wanted is not None:
        if clustering.clusters < study.wanted:
            there = plural(clustering.distinct, "distinct place")
            return f"{study.wanted} clusters were asked for; training calls have only {there}."
        return f"The number of clusters, {study.wanted}, was given."
    if not clustering.silhouettes:
        return "Training calls have too few distinct places for silhouettes."
    text = f"The number of clusters, {clustering.clusters}, has the highest mean silhouette."
    if clustering.clusters == AUTO_RANGE[-1]:
        text += " It is also the highest number tried: the calls fall into many small groups, and no number is the natural one."
    return text


def held(clustering: Clustering) -> str:
    """Tell whether the clusters hold for later calls."""
    holding = clustering.holding
    if holding.test_distance is None:
        return "There are too few calls for a test part."
    moved = 0.5 * sum([abs(a - b) for a, b in zip(holding.train_shares, holding.test_shares, strict=True)])
    text = (
        f"Mean squared distance to the nearest centroid: {number(holding.train_distance)} in the training part,"
        f" {number(holding.test_distance)} in the later test part; {share(moved)} of the calls would have to change clusters to"
        " make the shares equal."
    )
    if holding.refit is not None:
        verdict = (
            "the same structure" if holding.refit >= _GOOD else "another structure" if holding.refit < _WEAK else "a similar one"
        )
        text += (
            f" k-means fitted on the test part alone finds {verdict} (adjusted Rand index {holding.refit:.3f} between the two"
            " ways to cluster the same calls; 1 is the same, 0 is chance)."
        )
    return text


def explained(clustering: Clustering) -> str:
    """Tell what the clusters restate."""
    if clustering.clusters == 1 or not clustering.explanations:
        return "There is one cluster only, so nothing to explain."
    best = clustering.explanations[0]
    largest = max(one.calls for one in clustering.profiles) / sum(one.calls for one in clustering.profiles)
    basis = (
        f"{code(best.name)} alone tells {best.information:.0%} of what there is to know about a call's cluster: by it"
        f" {share(best.guessed)} of the calls are guessed right, without it {share(largest)}"
    )
    if best.information >= _RESTATED:
        return (
            f"{basis}. **The clusters mostly restate {code(best.name)}**: to call one of them anomalous is to call some of its"
            " values anomalous."
        )
    if best.information >= _HINTED:
        return f"{basis}. Much of the clusters is that one feature, though not all of it."
    return f"{basis}. No single feature explains the clusters; they come from several together."


def agreed(agreement: Agreement) -> str:
    """Judge one comparison in a sentence or two."""
    what = f"{agreement.against} ({'all sampled calls' if agreement.part is Part.ALL else 'test part'})"
    if agreement.rand is None:
        only = agreement.positive if agreement.positives else {"attack": "benign", "deny": "allow"}[agreement.positive]
        return f"Against {what}: all {agreement.n:,} calls are '{only}', so agreement isn't defined."
    if agreement.rand < _CHANCE:
        level = "no better than chance" if agreement.rand > -_CHANCE else "worse than chance"
    elif agreement.rand < _WEAK:
        level = "weak"
    elif agreement.rand < _GOOD:
        level = "moderate"
    else:
        level = "good"
    gain = agreement.purity - agreement.majority
    told = (
        "taking each cluster for its majority guesses no better than always saying the more frequent kind"
        if gain < _NO_GAIN
        else f"taking each cluster for its majority guesses {share(agreement.purity)} right, always saying the more frequent"
        f" kind {share(agreement.majority)}"
    )
    smallest = agreement.readings[agreement.smallest - 1]
    rarer = min(agreement.positives, agreement.n - agreement.positives)
    warning = ""
    if rarer < FEW:
        warning = f" It rests on {plural(rarer, 'call')} of the rarer kind, and may be another with the next few."
    return (
        f"Against {what}: agreement is **{level}** (adjusted Rand index {agreement.rand:.3f}); {told}. With the smallest cluster"
        f" read as 'anomalous', {share(smallest.true_positives.rate or 0.0)} of '{agreement.positive}' is in it, and"
        f" {share(smallest.false_positives.rate or 0.0)} of the rest.{warning}"
    )
