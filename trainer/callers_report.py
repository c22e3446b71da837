"""The command `trainer callers`: from a store or a file to a ranking for each workload, in words and as JSON."""

from collections.abc import Mapping, Sequence

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from authz_server.engine.errors import FormatError, StoreError
from trainer.callers import Candidate, CandidateLearner, seen_in_clear, seen_in_record
from trainer.imports import Format, iter_imported
from trainer.keys import newest_key
from trainer.store import read_calls

__all__ = ["Ranking", "from_file", "from_store", "to_json", "to_text"]

Ranking = Mapping[str, Sequence[Candidate]]
"""Candidates by workload, the best first."""
_MAX_WORKLOADS = 1_000
_SHOWN = 12
_FIGURES = ("calls with it", "callers", "calls each", "alive for", "comes again", "most frequent", "moves")
_TABLE_WIDTH = 120


def from_store(store: str) -> Ranking:
    """Rank what recorded calls show, those under the newest hash key; raises StoreError where there are none.

    Under another key every caller would be another one.
    """
    learners: dict[str, CandidateLearner] = {}
    for record in read_calls(store, key_id=newest_key(store)):
        learner = _learner(learners, record.workload)
        if learner is not None:
            learner.update(record.ts, record.address, seen_in_record(record))
    if not learners:
        raise StoreError(f"{store}: expected recorded calls, found none")
    return _finish(learners)


def from_file(path: str, file_format: Format) -> Ranking:
    """Rank what calls in clear show; raises FormatError at the first bad line, and where there are no calls."""
    learners: dict[str, CandidateLearner] = {}
    for imported in iter_imported(path, file_format):
        if isinstance(imported, FormatError):
            raise imported
        raw = imported.raw
        learner = _learner(learners, raw.workload)
        if learner is not None:
            learner.update(raw.ts, raw.address, seen_in_clear(raw))
    if not learners:
        raise FormatError(f"{path}: expected calls, found none")
    return _finish(learners)


def _learner(learners: dict[str, CandidateLearner], workload: str) -> CandidateLearner | None:
    """The host may be the client's word, so workloads are bounded too."""
    if workload not in learners and len(learners) >= _MAX_WORKLOADS:
        return None
    return learners.setdefault(workload, CandidateLearner())


def _finish(learners: Mapping[str, CandidateLearner]) -> Ranking:
    return {workload: learner.finish() for workload, learner in sorted(learners.items())}


def to_json(ranking: Ranking) -> str:
    """Write as indented JSON; shares in [0, 1], `score` beside."""
    found = {
        workload: [{**msgspec.to_builtins(one), "score": round(one.score, 4), "policy": one.policy} for one in candidates]
        for workload, candidates in ranking.items()
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def to_text(ranking: Ranking, width: int = 160) -> str:
    """Write a table a workload, or a list where `width` columns are too few, and what to put into the policy."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        for workload, candidates in ranking.items():
            _show(console, workload or "unnamed workload", candidates)
            usable = [one.policy for one in candidates if not one.reason][:3]
            if usable:
                said = f'  workloads:\n    "{workload}":\n      session: [{", ".join(usable)}]\n'
                console.print(said, markup=False, soft_wrap=True)  # it is copied: a line must stay a line
            else:
                console.print("  nothing tells callers apart here: sequences and paces can't be judged by caller\n")
    return captured.get().rstrip()


def _show(console: Console, workload: str, candidates: Sequence[Candidate]) -> None:
    rows = [_figures(one) for one in candidates[:_SHOWN]]
    if not rows:
        console.print(f"{workload}\n", markup=False)
    elif console.width >= _TABLE_WIDTH:
        table = Table(title=escape(workload), title_justify="left", box=SIMPLE)
        for name in ("read from", *_FIGURES, ""):
            table.add_column(name, justify="left" if name in ("read from", "") else "right", overflow="fold")
        for row in rows:
            table.add_row(*[escape(cell) for cell in row])
        console.print(table)
    else:
        console.print(f"{workload}\n", markup=False)
        for source, *figures, reason in rows:
            told = ", ".join([f"{name}: {figure}" for name, figure in zip(_FIGURES, figures, strict=True)])
            console.print(f"{source}: {reason}" if reason else source, markup=False)
            console.print(Padding(f"{told}\n", (0, 0, 0, 4)), markup=False)


def _figures(one: Candidate) -> tuple[str, ...]:
    return (
        one.source,
        f"{one.share:.1%}",
        f"{one.callers:,}",
        f"{one.calls:,.0f}",
        _duration(one.seconds),
        f"{one.again:.1%}",
        f"{one.most:.1%}",
        f"{one.addresses:.0%}",
        one.reason,
    )


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
