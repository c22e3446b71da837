"""Some thousand calls of one workload in columns: what repeats stands once in a table, and a call is a row of numbers.

That is how training takes calls: what depends only on a parameter, a target, a sender or a form is worked out once for all the
calls that have it. Made by `batch_builder.py`, kept by `spool.py`. A batch holds no clear values, as a store doesn't.
"""

from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from authz_server.engine.call import BodyKind, Call, Caller, Flag, Parameter
from authz_server.engine.errors import FormatError, cut
from trainer.look import to_alike
from trainer.shape import is_own

__all__ = ["Batch", "Form", "Ids", "Mask", "Sender", "Target", "decode_batch", "encode_batch"]

Ids = npt.NDArray[np.int64]
"""Rows of a table, or of the batch itself."""
Mask = npt.NDArray[np.bool_]


class Target(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where calls went: the method, and the path's segments as rows of `Batch.parameters`."""

    method: str
    segments: tuple[int, ...]


class Sender(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Whose calls they are."""

    principal: str
    session: str
    address: str


class Form(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How calls are made up: the keys of their parameters in order, flags, kind of body."""

    keys: tuple[str, ...]
    flags: tuple[Flag, ...]
    body: BodyKind


class Batch(msgspec.Struct, frozen=True, dict=True):
    """Calls of one workload in time order.

    `target`, `sender` and `form` are rows of the tables of that name, one a call. The parameters of all calls stand one after
    the other in `sent`, as rows of `parameters`; those of call `n` begin at `starts[n]` and end at `starts[n + 1]`. `status`,
    `resp_size`, `duration_ms`: None where nobody told. `written`: `parameters` as stored, a JSON list.
    """

    workload: str
    targets: list[Target]
    senders: list[Sender]
    forms: list[Form]
    written: bytes
    ts: npt.NDArray[np.float64]
    target: Ids
    sender: Ids
    form: Ids
    sent: Ids
    starts: Ids
    ids: list[str]
    body_size: list[int]
    status: list[int | None]
    resp_size: list[int | None]
    duration_ms: list[float | None]
    port: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The distinct parameters; raises FormatError where they aren't such."""
        try:
            return _decode_parameters(self.written)
        except msgspec.DecodeError as error:
            raise FormatError(f"{cut(self.workload)}: expected calls with parameters as recorded: {error}") from error

    @cached_property
    def owner(self) -> Ids:
        """The call that each of `sent` belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def alike(self) -> tuple[Ids, list[Parameter]]:
        """Which of `parameters` are alike but for their number and digest: the number of each kind, and the first of it."""
        found, firsts = to_alike(self.parameters)
        return np.array(found, dtype=np.int64), firsts

    @cached_property
    def own(self) -> Mask:
        """Which of `parameters` are learned with their endpoint, and not as sent everywhere alike (`shape.py`)."""
        keys = {key for form in self.forms for key in form.keys if not is_own(key)}
        return np.array([parameter.key not in keys for parameter in self.parameters], dtype=np.bool_)

    @cached_property
    def succeeded(self) -> Mask:
        """Whether each call ended well, as far as known (`eligible.py`)."""
        return np.array([status is None or 200 <= status < 400 for status in self.status], dtype=np.bool_)

    @cached_property
    def refused(self) -> Mask:
        """Whether the service itself refused each call (4xx)."""
        return np.array([status is not None and 400 <= status < 500 for status in self.status], dtype=np.bool_)

    def segments(self, target: int) -> tuple[Parameter, ...]:
        """Give the path segments of a target."""
        return tuple([self.parameters[one] for one in self.targets[target].segments])

    def call(self, row: int) -> Call:
        """Give back one Call, but for its request id."""
        target, form = int(self.target[row]), self.forms[self.form[row]]
        return Call(
            float(self.ts[row]),
            self.workload,
            self.targets[target].method,
            self.segments(target),
            tuple([self.parameters[one] for one in self.sent[self.starts[row] : self.starts[row + 1]].tolist()]),
            form.flags,
            Caller(*msgspec.structs.astuple(self.senders[self.sender[row]])),
            form.body,
            self.body_size[row],
            "",
            self.port[row],
        )

    def bare_call(self, target: int) -> Call:
        """Make the Call that has nothing but its target."""
        return Call(0.0, self.workload, self.targets[target].method, self.segments(target))

    def only(self, kept: Mask) -> "Batch":
        """Leave out the calls that aren't `kept`; the tables stay as they are."""
        if kept.all():
            return self
        rows = np.flatnonzero(kept)
        lengths = np.diff(self.starts)[rows]
        chosen = rows.tolist()
        only = msgspec.structs.replace(
            self,
            ts=self.ts[rows],
            target=self.target[rows],
            sender=self.sender[rows],
            form=self.form[rows],
            sent=self.sent[kept[self.owner]],
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            **{name: [getattr(self, name)[row] for row in chosen] for name in _LISTS},
        )
        vars(only)["parameters"] = self.parameters  # decoded once for both
        return only


_LISTS = ("ids", "body_size", "status", "resp_size", "duration_ms", "port")


_decode_parameters = msgspec.json.Decoder(list[Parameter]).decode


def _from_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    raise NotImplementedError(f"expected an array, got {type(value).__name__}")


def _to_array(_: type, value: Any) -> Any:
    return np.frombuffer(value[1], dtype=value[0])


_encoder = msgspec.msgpack.Encoder(enc_hook=_from_array)
_decoder = msgspec.msgpack.Decoder(Batch, dec_hook=_to_array)


def encode_batch(batch: Batch) -> bytes:
    """Write a batch."""
    return _encoder.encode(batch)


def decode_batch(data: bytes) -> Batch:
    """Read a batch that this process wrote."""
    return _decoder.decode(data)
