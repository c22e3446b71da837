"""From recorded calls to batches: each distinct thing is read once and gets a number, calls become rows of numbers.

Calls are taken many at a time and column by column, since a step in Python for each of them is what costs most.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, count, pairwise
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from authz_server.engine.call import BodyKind, Flag
from authz_server.engine.errors import FormatError, cut
from trainer.batch import Batch, Form, Ids, Sender, Target
from trainer.partial_record import StoredCall, bounded
from trainer.tally import numbered

__all__ = ["BatchBuilder"]


class _Key(msgspec.Struct, frozen=True, gc=False):
    key: str


_split = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode
_decode_keys = msgspec.json.Decoder(list[_Key]).decode
_KEPT = ("id", "ts", "body_size", "status", "resp_size", "duration_ms", "port")
_columns = attrgetter(
    *_KEPT, "method", "segments", "principal", "session", "address", "flags", "body._value_", "parameters"
)  # `_value_`: a member's own hash takes a step in Python
_NUMBER = np.dtype(np.int32)


class BatchBuilder:
    """Collects calls of one workload, which must come in time order."""

    def __init__(self, workload: str) -> None:
        self.workload = workload
        self._parameters: defaultdict[bytes, int] = defaultdict(count().__next__)
        """By their JSON; what is written differently is told apart here and nowhere else."""
        self._targets: defaultdict[tuple[str, bytes], int] = defaultdict(count().__next__)
        self._senders: defaultdict[tuple[str, str, str], int] = defaultdict(count().__next__)
        self._written: defaultdict[tuple[tuple[Flag, ...], str], int] = defaultdict(count().__next__)
        self._kept: list[list[Any]] = [[] for _ in _KEPT]
        self._target: list[int] = []
        self._sender: list[int] = []
        self._sent: list[Ids] = []
        self._ends: list[int] = [0]
        self._how: list[int] = []

    def __len__(self) -> int:
        return len(self._target)

    def add(self, calls: Sequence[StoredCall]) -> None:
        """Take calls, at least one."""
        columns = list(zip(*map(_columns, calls), strict=True))
        method, segments, principal, session, address, flags, body, parameters = columns[len(_KEPT) :]
        for kept, column in zip(self._kept, columns[: len(_KEPT)], strict=True):
            kept += column
        self._target += map(self._targets.__getitem__, zip(method, map(bytes, segments), strict=True))
        self._sender += map(self._senders.__getitem__, zip(principal, session, address, strict=True))
        self._how += map(self._written.__getitem__, zip(flags, body, strict=True))
        sent = map(self._parameters.__getitem__, map(bytes, chain.from_iterable(parameters)))
        self._sent.append(np.fromiter(sent, dtype=np.int64))
        self._ends += accumulate(map(len, parameters), initial=self._ends.pop())

    def build(self) -> Batch:
        """Make the batch of the calls so far, of which there must be one."""
        targets = [
            Target(method, tuple(map(self._parameters.__getitem__, map(bytes, _split(segments)))))
            for method, segments in self._targets
        ]
        written = b"[" + b",".join(self._parameters) + b"]"
        sent = np.concatenate(self._sent)
        forms, form = self._forms(written, sent)
        ids, ts, body_size, status, resp_size, duration_ms, port = self._kept
        return Batch(
            self.workload,
            targets,
            [Sender(*sender) for sender in self._senders],
            forms,
            written,
            np.array(ts),
            np.array(self._target),
            np.array(self._sender),
            form,
            sent,
            np.array(self._ends),
            ids,
            bounded(body_size),
            bounded(status),
            bounded(resp_size),
            duration_ms,
            bounded(port),
        )

    def _forms(self, written: bytes, sent: Ids) -> tuple[list[Form], Ids]:
        """Tell how each call is made up."""
        number_of, keys = numbered(self._keys(written))
        rows = number_of.astype(_NUMBER)[sent].tobytes()
        cuts = [rows[start:end] for start, end in pairwise([end * _NUMBER.itemsize for end in self._ends])]
        form, found = numbered(zip(cuts, self._how, strict=True))
        how = list(self._written)
        return [
            Form(tuple([keys[key] for key in np.frombuffer(row, _NUMBER).tolist()]), how[number][0], BodyKind(how[number][1]))
            for row, number in found
        ], form

    def _keys(self, written: bytes) -> Iterable[str]:
        try:
            return [one.key for one in _decode_keys(written)]
        except msgspec.DecodeError as error:
            raise FormatError(f"{cut(self.workload)}: expected calls with parameters as recorded: {error}") from error
