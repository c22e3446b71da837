"""`python -m bench workflows`: learn each workflow's `train` split, judge another one; tables, and bench/out/workflows.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz_server.engine.observe import Observer
from bench.table import table, write_json, yes
from bench.workflows.bank import BANK
from bench.workflows.booking import BOOKING
from bench.workflows.measure import Alarms, Cost, alarms, cost, judge, learn, records_of
from bench.workflows.session import Workflow
from bench.workflows.shop import SHOP
from bench.workflows.tracker import TRACKER
from bench.workflows.traffic import ABUSES, SESSIONS, Session, Split, sessions_of, to_rows, write_rows
from trainer.evaluate import wilson

__all__ = ["WORKFLOWS", "Options", "Result", "run", "write"]

WORKFLOWS: Final = (SHOP, BANK, TRACKER, BOOKING)

_CAUGHT: Final = 0.99
_ALARMED: Final = 0.001
_ADDED_US: Final = 15.0


class Options(msgspec.Struct, frozen=True):
    """What to measure: the budget, which split is judged, how many sessions, and the seed of everything."""

    budget: float = 0.001
    split: Split = Split.TEST
    sessions: int = SESSIONS
    abuses: int = ABUSES
    seed: int = 1


class Result(msgspec.Struct, frozen=True):
    """One workflow: how many calls and rules it has, what came of its sessions, and the cost."""

    workflow: str
    teaching_calls: int
    direct_rules: int
    implied_rules: int
    contexts: int
    alarms: list[Alarms]
    cost: Cost


def run(options: Options) -> list[Result]:
    """Measure every workflow."""
    results = []
    for workflow in WORKFLOWS:
        print(f"learning {workflow.name}", flush=True)
        results.append(_measure(workflow, options))
    print("\n" + _sessions(results, options))
    print("\n" + _learned(results))
    print("\n" + _costs(results))
    print(f"\nwritten to {write_json('workflows', {'options': options, 'results': results})}")
    return results


def write(out: Path, options: Options) -> None:
    """Write the calls of each workflow, the `train` split and the one to judge, as one file of the `calls` shape."""
    for workflow in WORKFLOWS:
        path = out.with_name(f"{out.name}.{workflow.name}.jsonl")
        with path.open("w", encoding="utf-8") as file:
            rows = sum(
                write_rows(to_rows(workflow, split, _sessions_of(workflow, split, options)), file)
                for split in dict.fromkeys((Split.TRAIN, options.split))
            )
        print(f"{path}: {rows:,} calls")


def _sessions_of(workflow: Workflow, split: Split, options: Options) -> list[Session]:
    return sessions_of(workflow, split, options.seed, options.sessions, options.abuses)


def _measure(workflow: Workflow, options: Options) -> Result:
    observer = Observer()
    teaching = records_of(workflow, Split.TRAIN, _sessions_of(workflow, Split.TRAIN, options), observer)
    count = len(teaching)
    ready = learn(teaching)
    del teaching
    sessions = _sessions_of(workflow, options.split, options)
    records = records_of(workflow, options.split, sessions, observer)
    clients = [row["client"] for row in to_rows(workflow, options.split, sessions)]
    found = alarms(sessions, list(judge(records, clients, ready)), options.budget)
    sequence = ready.model.sequence
    rules = [rule for rules in sequence.rules.values() for rule in rules]
    implied = sum(rule.implied for rule in rules)
    return Result(workflow.name, count, len(rules) - implied, implied, len(sequence.contexts), found, cost(records, ready))


def _sessions(results: Sequence[Result], options: Options) -> str:
    rows = []
    for result in results:
        for one in result.alarms:
            name = f"{result.workflow}: {one.kind or 'honest'}"
            alarmed = wilson(one.early if not one.kind else one.caught, one.sessions)
            share = f"{100 * (alarmed.rate or 0):.2f} ({100 * alarmed.low:.2f}-{100 * alarmed.high:.2f})"
            calls = f"{one.alarmed_calls:,}/{one.calls:,}"
            reasons = ", ".join(f"{reason} {count}" for reason, count in one.reasons.items())
            if one.kind:
                reached = yes(alarmed.hits >= _CAUGHT * one.sessions)
                rows.append((name, f"{one.sessions:,}", share, f"{one.at_once:,}", calls, reached, reasons))
            else:
                rows.append((name, f"{one.sessions:,}", share, "", calls, yes(alarmed.hits <= _ALARMED * one.sessions), reasons))
    title = (
        f"Sessions of `{options.split}` alarmed at budget {options.budget:g} of calls, seed {options.seed}, in dry run:\n"
        "of abusive ones those with an alarm at a labelled call (at once: at the first one), of honest ones those with any;\n"
        f"targets: at least {_CAUGHT:.0%}, at most {_ALARMED:.1%}"
    )
    return table(
        title,
        ("sessions", "n", "alarmed % (95 %)", "at once", "unlabelled calls alarmed", "target", "why these"),
        rows,
    )


def _learned(results: Sequence[Result]) -> str:
    rows = [(one.workflow, f"{one.teaching_calls:,}", one.direct_rules, one.implied_rules, one.contexts) for one in results]
    return table("Learned", ("workflow", "calls", "rules", "implied ones", "longer contexts"), rows)


def _costs(results: Sequence[Result]) -> str:
    rows = []
    for one in results:
        times = (one.cost.without, one.cost.judged, one.cost.kept)
        each = [f"{middle:.1f} ({least:.1f}-{greatest:.1f})" for middle, least, greatest in times]
        rows.append((one.workflow, *each, yes(one.cost.judged[0] + one.cost.kept[0] < _ADDED_US)))
    return table(
        "Microseconds a call, median of the rounds' medians (least-greatest: the noise)",
        ("workflow", "decide() without a past", "its past adds", "asking for it, in memory", f"both < {_ADDED_US:g}"),
        rows,
    )
