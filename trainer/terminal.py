"""What a person sees while a command runs: a progress bar on a terminal, plain lines everywhere else; all on standard error."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from trainer.imports import Imports

__all__ = ["columns", "say", "track_import", "track_training"]

_LINE_SECONDS: Final = 5.0
_NARROWEST: Final = 40


def columns(otherwise: int) -> int:
    """Tell how wide lines may be: as COLUMNS says or the terminal is, `otherwise` where a file or a pipe is written to."""
    return max(_NARROWEST, shutil.get_terminal_size((otherwise, 24)).columns)


def say(text: str) -> None:
    """Write one line."""
    sys.stderr.write(text + "\n")


@contextmanager
def track_import(files: Sequence[str]) -> Iterator[Callable[[Imports], None]]:
    """Show how far an import is, by the bytes of its files as they are stored."""
    total = sum([Path(file).stat().st_size for file in files if Path(file).is_file()]) or None
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_by_line(total)
        return
    columns = (TextColumn("importing"), BarColumn(), TextColumn("{task.fields[calls]:,} calls"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("importing", total=total, calls=0)
        yield lambda imports: progress.update(task, completed=imports.read, calls=imports.written)


def _line_by_line(total: int | None) -> Callable[[Imports], None]:
    said = time.monotonic()

    def show(imports: Imports) -> None:
        nonlocal said
        if time.monotonic() - said >= _LINE_SECONDS:
            said = time.monotonic()
            share = f", {imports.read / total:.0%} of the files" if total else ""
            say(f"imported {imports.written:,} calls{share}")

    return show


@contextmanager
def track_training() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far training is: the phase, calls done, calls in all, 0 while nobody knows."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _phase_by_phase()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} calls"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase)
            progress.update(tasks[phase], completed=done, total=total or done)

        yield show


def _phase_by_phase() -> Callable[[str, int, int], None]:
    said = time.monotonic()

    def show(phase: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _LINE_SECONDS or done == total:
            said = time.monotonic()
            say(f"{phase}: {done:,} of {total:,} calls" if total else f"{phase}: {done:,} calls")

    return show
