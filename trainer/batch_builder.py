"""From recorded calls to batches: each distinct thing is decoded once and gets a number, calls become rows of numbers."""

from collections import defaultdict
from itertools import count

import msgspec
import numpy as np

from authz_server.engine.call import BodyKind, Flag, Parameter
from trainer.batch import Batch, Form, Sender, Target
from trainer.partial_record import StoredCall, bounded

__all__ = ["BatchBuilder"]

_Row = tuple[str, float, int, int | None, int | None, float | None, int]
_decode_parameter = msgspec.json.Decoder(Parameter).decode
_split = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode


class BatchBuilder:
    """Collects calls of one workload, which must come in time order."""

    def __init__(self, workload: str) -> None:
        self.workload = workload
        self._parameters: defaultdict[bytes, int] = defaultdict(count().__next__)
        """By their JSON; what is written differently is told apart here and nowhere else."""
        self._targets: defaultdict[tuple[str, bytes], int] = defaultdict(count().__next__)
        self._senders: defaultdict[tuple[str, str, str], int] = defaultdict(count().__next__)
        self._rows: list[_Row] = []
        self._target: list[int] = []
        self._sender: list[int] = []
        self._sent: list[int] = []
        self._starts: list[int] = [0]
        self._written: list[tuple[tuple[Flag, ...], BodyKind]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, call: StoredCall) -> None:
        """Take one call."""
        self._rows.append((call.id, call.ts, call.body_size, call.status, call.resp_size, call.duration_ms, call.port))
        self._target.append(self._targets[call.method, bytes(call.segments)])
        self._sender.append(self._senders[call.principal, call.session, call.address])
        self._sent.extend(map(self._parameters.__getitem__, map(bytes, call.parameters)))
        self._starts.append(len(self._sent))
        self._written.append((call.flags, call.body))

    def build(self) -> Batch:
        """Make the batch of the calls so far, of which there must be one."""
        targets = [
            Target(method, tuple(map(self._parameters.__getitem__, map(bytes, _split(segments)))))
            for method, segments in self._targets
        ]
        parameters = list(map(_decode_parameter, self._parameters))
        forms, form = self._forms(parameters)
        ids, ts, body_size, status, resp_size, duration_ms, port = zip(*self._rows, strict=True)
        return Batch(
            self.workload,
            targets,
            [Sender(*sender) for sender in self._senders],
            forms,
            parameters,
            np.array(ts),
            np.array(self._target),
            np.array(self._sender),
            np.array(form),
            np.array(self._sent, dtype=np.int64),
            np.array(self._starts),
            list(ids),
            [bounded(size) for size in body_size],
            [one if one is None else bounded(one) for one in status],
            [one if one is None else bounded(one) for one in resp_size],
            list(duration_ms),
            [bounded(one) for one in port],
        )

    def _forms(self, parameters: list[Parameter]) -> tuple[list[Form], list[int]]:
        """Tell how each call is made up."""
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        number_of = [numbers[parameter.key] for parameter in parameters]
        keys = list(map(number_of.__getitem__, self._sent))
        found: defaultdict[tuple[tuple[int, ...], tuple[Flag, ...], str], int] = defaultdict(count().__next__)
        form, start = [], 0
        for end, (flags, body) in zip(self._starts[1:], self._written, strict=True):
            form.append(found[tuple(keys[start:end]), flags, body.value])
            start = end
        names = list(numbers)
        return [Form(tuple([names[number] for number in made_of]), flags, BodyKind(body)) for made_of, flags, body in found], form
