"""The command line: `python -m bench` (speed and detection), `python -m bench COMMAND` (one of those that `--help` lists)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench import ablation as ablations
from bench import detection as detections
from bench import history as histories
from bench import memory as memories
from bench import promise as promises
from bench import speed as speeds
from bench import traces as tracings
from bench import volume as volumes
from bench.datasets import Poison
from bench.workflows import run as workflow_runs
from bench.workflows.traffic import ABUSES, SESSIONS, Split
from demo.processes import ignore_settings

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class PoisonAs(StrEnum):
    """As whom attacks are mixed into training."""

    ONE_CLIENT = "one-client"
    THIRTY_CLIENTS = "30-clients"
    BOTH = "both"


_CLIENTS = {PoisonAs.ONE_CLIENT: (1,), PoisonAs.THIRTY_CLIENTS: (30,), PoisonAs.BOTH: (1, 30)}

_Seed = Annotated[int, typer.Option(help="Everything made up follows from it.")]


@app.callback(invoke_without_command=True)
def _both(context: typer.Context) -> None:
    """Measure speed and detection on this machine."""
    ignore_settings()
    if context.invoked_subcommand is None:
        speeds.run(speeds.Options())
        detections.run([])


@app.command()
def speed(
    checks: Annotated[int, typer.Option(min=100, help="Checks in a round.")] = speeds.Options().checks,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the servers take turns in each.")] = speeds.Options().rounds,
    starts: Annotated[int, typer.Option(min=1, help="Starts of the server.")] = speeds.Options().starts,
    learn: Annotated[int, typer.Option(min=2000, help="Checks that the bundle is learned from.")] = speeds.Options().learn,
    seed: _Seed = 1,
) -> None:
    """CPU and latency of a Check beside an empty handler, the stages alone, memory, start-up."""
    speeds.run(speeds.Options(seed, checks, rounds, starts, learn))


@app.command()
def detection(
    files: Annotated[list[Path] | None, typer.Argument(help="Files of the `calls` shape; none: the public ones.")] = None,
    budget: Annotated[list[float] | None, typer.Option(help="Budgets instead of the usual ones.")] = None,
    drop_headers: Annotated[
        bool | None, typer.Option("--drop-headers/--keep-headers", help="Drop response headers. Default: for atrdf1.")
    ] = None,
    poison: Annotated[PoisonAs | None, typer.Option(help="Also with attacks mixed into training.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the attack rows that --poison mixes in.")] = 0.01,
    clients: Annotated[
        int,
        typer.Option(min=0, help="Give rows without a client one of so many, so that poisoners don't stand out by having one."),
    ] = 0,
    memory: Annotated[bool, typer.Option("--memory", help="Instead: training's memory at many calls.")] = False,  # noqa: FBT002
    calls: Annotated[list[int] | None, typer.Option(help="How many, for --memory. Default: 100,000 and 1,000,000.")] = None,
    ablation: Annotated[bool, typer.Option("--ablation", help="Instead: what each check earns.")] = False,  # noqa: FBT002
    seed: _Seed = 1,
) -> None:
    """True and false positives at several budgets, learned without labels."""
    if memory:
        memories.run(calls or memories.CALLS, seed)
    if ablation:
        ablations.run(files or [], seed=seed)
    if memory or ablation:
        return
    poisons = [Poison(clients, share) for clients in _CLIENTS[poison]] if poison else []
    detections.run(
        files or [], budget or detections.BUDGETS, drop_headers=drop_headers, poisons=poisons, clients=clients, seed=seed
    )


@app.command()
def promise(
    files: Annotated[list[Path] | None, typer.Argument(help="Files of the `calls` shape; none: the public ones.")] = None,
    budget: Annotated[list[float] | None, typer.Option(help="Budgets instead of the usual ones.")] = None,
    seeds: Annotated[int, typer.Option(min=0, help="Random cuts, beside the one in time order.")] = promises.Options().seeds,
    generated: Annotated[bool, typer.Option("--generated/--files-only", help="Measure generated traffic too.")] = True,  # noqa: FBT002
    seed: _Seed = 1,
) -> None:
    """Whether the budget is kept: normal calls refused on parts of the training data that were held out."""
    options = promises.Options(tuple(budget) if budget else promises.BUDGETS, seeds, generated, seed)
    promises.run(files or [], options)


@app.command()
def volume(
    files: Annotated[list[Path] | None, typer.Argument(help="Files of the `calls` shape in time order; none: all.")] = None,
    days: Annotated[int, typer.Option(min=7, help="Days of seeded traffic.")] = volumes.Options().days,
    every: Annotated[float, typer.Option(min=0.1, help="Learn anew every so many days.")] = volumes.Options().every,
    seed: _Seed = 1,
) -> None:
    """The volume model: windows alarmed in normal traffic, floods and attacks caught, cost a call, bytes a caller."""
    volumes.run(volumes.Options(seed, days, every), files or [])


@app.command()
def workflows(
    budget: Annotated[float, typer.Option(min=0, max=1, help="Budget, a share of calls.")] = 0.001,
    split: Annotated[Split, typer.Option(help="What is judged: `dev` to choose by, `test` for the result.")] = Split.TEST,
    sessions: Annotated[int, typer.Option(min=200, help="Honest sessions, to learn from and to judge.")] = SESSIONS,
    abuses: Annotated[int, typer.Option(min=1, help="Abusive sessions of each kind.")] = ABUSES,
    out: Annotated[Path | None, typer.Option(help="Instead: write the calls, also of `train`, to FILE.WORKFLOW.jsonl.")] = None,
    seed: _Seed = 1,
) -> None:
    """Sessions of abused workflows caught, honest sessions alarmed, and what the sequence model costs."""
    options = workflow_runs.Options(budget, split, sessions, abuses, seed)
    if out is not None:
        workflow_runs.write(out, options)
    else:
        workflow_runs.run(options)


@app.command()
def history(
    checks: Annotated[int, typer.Option(min=50, help="Checks in a round.")] = histories.Options().checks,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the histories take turns in each.")] = histories.Options().rounds,
    callers: Annotated[int, typer.Option(min=20_000, help="Callers of the flood.")] = histories.Options().callers,
    seed: _Seed = 1,
) -> None:
    """What a shared history adds to a Check, what a tracked caller weighs, and a million callers thrown at it."""
    histories.run(histories.Options(seed, checks, rounds, callers=callers))


@app.command()
def traces(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of the `calls` shape with request ids; none: the public one.")
    ] = None,
    budget: Annotated[float, typer.Option(help="Accepted share of normal calls refused.")] = 1e-3,
    seed: _Seed = 1,
) -> None:
    """Who calls whom and what must follow: false alarms on benign traces, and attacks injected into real ones."""
    tracings.run(files or [], budget, seed)


if __name__ == "__main__":
    app()
