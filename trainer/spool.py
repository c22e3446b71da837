"""A store's calls, read once and kept as batches for the passes of training: in memory while they are few, else in a file.

Memory is bounded by `_HELD` calls that wait for their batch and by `_IN_MEMORY` bytes, however many calls, workloads or distinct
values there are. The file is a temporary one, gone when training ends.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Final, Self, cast

from authz_server.engine.errors import StoreError
from trainer.batch import Batch, decode_batch, encode_batch
from trainer.batch_builder import BatchBuilder
from trainer.partial_record import StoredCall
from trainer.trail import Trail, TrailBuilder, decode_trail, encode_trail

__all__ = ["Batches", "Spool"]

_BATCH: Final = 8192
"""Calls of a batch: more are hardly any cheaper each."""
_HELD: Final = 4 * _BATCH
"""Calls that wait; beyond that the workload with the most of them gets its batch early."""
_STEP: Final = 512
"""Calls taken at a time: what they are read from is in memory until they are."""
_IN_MEMORY: Final = 32 << 20

_Place = tuple[int, int]
"""Where something is written, and how long it is."""


class Batches:
    """The batches of one workload, in time order, read anew each time they are gone through; `calls` in all.

    Those of a shared Spool may be sent to another process.
    """

    def __init__(self, workload: str, file: IO[bytes] | str, places: list[_Place], calls: int) -> None:
        self.workload = workload
        self.calls = calls
        self._file = file
        self._places = places

    def __iter__(self) -> Iterator[Batch]:
        with _opened(self._file) as file:
            for place in self._places:
                yield decode_batch(_read(file, place))


@contextmanager
def _opened(file: IO[bytes] | str) -> Iterator[IO[bytes]]:
    if isinstance(file, str):
        with Path(file).open("rb") as found:
            yield found
    else:
        yield file


def _read(file: IO[bytes], place: _Place) -> bytes:
    start, length = place
    file.seek(start)
    return file.read(length)


class Spool:
    """Calls that may calibrate, in batches, and how all calls went through the mesh. A context manager.

    `shared`: other processes read it too, so it is a file from the beginning.
    """

    def __init__(self, *, shared: bool = False) -> None:
        made = tempfile.NamedTemporaryFile() if shared else tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._file = cast("IO[bytes]", made)
        self._shared = shared
        self._batches: dict[str, list[_Place]] = {}
        self._calls: dict[str, int] = {}
        self._trails: list[_Place] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what couldn't be written isn't needed any more
            self._file.close()

    def fill(self, calls: Iterable[StoredCall], told: Callable[[int], None] = lambda _: None) -> None:
        """Take all calls, in time order; known attacks and those of a test split aren't kept.

        `told` hears from time to time how many there were. Raises StoreError where the temporary file can't be written.
        """
        waiting: dict[str, BatchBuilder] = {}
        trail = TrailBuilder()
        held = done = 0
        for kept in _steps(calls):
            traced = [call for call in kept if call.request_id]
            if traced:
                trail.add(traced)
            if len(trail) >= _BATCH:
                self._trails.append(self._write(encode_trail(trail.build())))
                trail = TrailBuilder()
            left = [call for call in kept if call.verdict != "deny"]  # what else `calibrates` asks was asked above
            while left:
                room = min(_HELD - held, _BATCH - max(map(len, waiting.values()), default=0))
                _add(waiting, left[:room])
                held += len(left[:room])
                left = left[room:]
                full = max(waiting.values(), key=len)
                if len(full) >= _BATCH or held >= _HELD:
                    held -= len(full)
                    done += len(full)
                    del waiting[full.workload]
                    self._keep(full)
                    told(done)
        for builder in waiting.values():
            self._keep(builder)
        if len(trail):
            self._trails.append(self._write(encode_trail(trail.build())))
        with _room():
            self._file.flush()
        told(done + held)

    def _keep(self, builder: BatchBuilder) -> None:
        name = builder.workload
        self._calls[name] = self._calls.get(name, 0) + len(builder)
        self._batches.setdefault(name, []).append(self._write(encode_batch(builder.build())))

    def workloads(self) -> list[Batches]:
        """List the workloads by name."""
        file = self._file.name if self._shared else self._file
        return [Batches(name, file, places, self._calls[name]) for name, places in sorted(self._batches.items())]

    def trails(self) -> Iterator[Trail]:
        """Give the calls of all workloads that have a request id, in time order."""
        for place in self._trails:
            yield decode_trail(_read(self._file, place))

    def _write(self, data: bytes) -> _Place:
        with _room():
            start = self._file.seek(0, 2)
            self._file.write(data)
        return start, len(data)


def _steps(calls: Iterable[StoredCall]) -> Iterator[list[StoredCall]]:
    """Give some calls at a time, without known attacks and those of a test split."""
    calls = iter(calls)
    while step := list(islice(calls, _STEP)):
        yield [call for call in step if call.label != 1 and call.split != "test"]


def _add(waiting: dict[str, BatchBuilder], calls: list[StoredCall]) -> None:
    """Let the builders of their workloads take calls."""
    by_workload: defaultdict[str, list[StoredCall]] = defaultdict(list)
    for call in calls:
        by_workload[call.workload].append(call)
    for workload, those in by_workload.items():
        if workload not in waiting:
            waiting[workload] = BatchBuilder(workload)
        waiting[workload].add(those)


@contextmanager
def _room() -> Iterator[None]:
    """Say where there is no room, if there is none."""
    try:
        yield
    except OSError as error:
        where = tempfile.gettempdir()
        raise StoreError(f"{where}: expected room for calls while they are learned: {error.strerror or error}") from error
