"""What the run says: progress on the terminal, the table at the end, demo/out/summary.json.

Rules that live here only: when a scenario is ok and when the whole run is.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.strikes import AFTERWARDS, in_words, is_as_expected
from trainer.terminal import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from demo.beside import Beside
    from demo.clients import Answer
    from demo.measure import Denial, Latency
    from demo.scenarios import Scenario
    from demo.strikes import Strikes

BENIGN_DENIED_PER_CALL = 0.001
PLAIN_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Benign:
    """Everyday calls of one phase: `refused` at the door, `broken` by a denied call inside, `would` in dry run only.

    `alerted`: told afterwards, and not refused.
    """

    calls: int
    refused: int
    broken: int
    would: int
    errors: int
    alerted: int = 0

    @property
    def denied(self) -> int:
        """Calls that a user noticed: refused themselves, or answered in part because a call inside was refused."""
        return self.refused + self.broken

    @property
    def ok(self) -> bool:
        """At most one call in 1,000 denied, and at most as many lost otherwise."""
        return max(self.denied, self.errors) <= BENIGN_DENIED_PER_CALL * self.calls


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario in both phases."""

    scenario: Scenario
    dry_run: Strikes
    enforce: Strikes

    beside_dry_run: Beside | None = None
    beside: Beside | None = None
    """What other people noticed in dry run and when it was enforced, where that was measured."""

    @property
    def ok(self) -> bool:
        """Whether both phases ended as expected."""
        return is_as_expected(self.scenario.expected, self.dry_run, self.enforce)

    @property
    def got(self) -> str:
        """Both phases in words."""
        return in_words(self.scenario.expected, self.dry_run, self.enforce)

    def to_json(self) -> dict[str, object]:
        """The row as summary.json has it."""
        return {
            "name": self.scenario.name,
            "expected": self.scenario.expected.value,
            "got": self.got,
            "calls": self.enforce.calls,
            "denied": self.enforce.refused,
            "reason": self.enforce.reason or self.dry_run.reason,
            "ok": self.ok,
            **({"beside": self.beside.to_json()} if self.beside is not None else {}),
        }


def count_benign(answers: Sequence[Answer], log: Mapping[str, list[Denial]]) -> Benign:
    """Join what clients saw with what was decided about their calls, inside the mesh too."""
    refused = {answer.request_id for answer in answers if answer.denied}
    marked = {answer.request_id for answer in answers if answer.request_id in log}
    alerted = {name for name in marked if all(denial.basis == AFTERWARDS for denial in log[name])}
    marked -= alerted
    enforced = {name for name in marked if any(denial.refused for denial in log[name])}
    return Benign(
        calls=len(answers),
        refused=sum(answer.denied for answer in answers),
        broken=len(enforced - refused),
        would=len(marked - enforced),
        errors=sum(answer.status == 0 or answer.status >= 500 for answer in answers),
        alerted=len(alerted),
    )


def write_summary(path: Path, benign: Benign, rows: Sequence[Row], latency: Mapping[str, Latency]) -> None:
    """Write demo/out/summary.json."""
    summary = {
        "benign": {"calls": benign.calls, "denied": benign.denied},
        "scenarios": [row.to_json() for row in rows],
        "latency": {name: value.to_json() for name, value in latency.items()},
    }
    path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def scenario_table(rows: Sequence[Row]) -> Table:
    """One row per scenario: expected, got, the reason in words."""
    table = Table(title="Scenarios", show_lines=True, expand=False)
    for name in ("scenario", "expected", "got", "reason", "ok"):
        table.add_column(name, overflow="fold")
    for row in rows:
        entry = row.to_json()
        mark = "[green]yes[/]" if row.ok else "[red]no[/]"
        first = f"[bold]{row.scenario.name}[/]\n{escape(row.scenario.what)}"
        table.add_row(first, row.scenario.expected.value, row.got.replace("; ", "\n"), escape(str(entry["reason"])), mark)
    return table


class Narrator:
    """Tells the story: progress bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        """Write to standard output, wide enough for the table where there is no terminal to fit in."""
        self.console = Console()
        if not self.console.is_terminal:
            self.console = Console(width=columns(PLAIN_WIDTH))

    def say(self, text: str) -> None:
        """Write one line; `text` may use rich's markup."""
        self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Show that something is going on; the value is to be called once for each of `total` pieces done."""
        if not self.console.is_terminal:
            self.say(f"   {title} ..." if total is None else f"   {title}: {total} ...")
            yield lambda: None
            return
        bar = () if total is None else (BarColumn(), MofNCompleteColumn())
        columns = (SpinnerColumn(), TextColumn("   {task.description}"), *bar, TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda: progress.advance(task)
