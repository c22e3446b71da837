"""What the teaching calls of a batch say, counted: observations of parameters, forms and callers, alike ones at once.

In: a batch, and for each call its endpoint, window and caller. Out: observations with their Supports, which `fit_model.py` gives
to the learners.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from authz_server.engine.call import Parameter
from trainer.batch import Batch, Ids
from trainer.look import Bucket, Look, to_look, to_number_bucket
from trainer.support import Support
from trainer.tally import Tally, numbered, to_counts

__all__ = ["SHARED", "Lesson", "Taught", "Values"]

SHARED: Final = ""
"""Stands for the endpoint of what is sent everywhere alike."""


class Values:
    """The parameters of a batch, sorted out: which of them look alike, are about the same number, or are the very same value."""

    def __init__(self, batch: Batch) -> None:
        parameters = self.parameters = batch.parameters
        alike, firsts = batch.alike
        look, self.looks = numbered((one.key, to_look(one)) for one in firsts)
        key, self.keys = numbered(one.key for one in firsts)
        self.look, self.key = look[alike], key[alike]
        self.bucket, self.buckets = _to_buckets(parameters)
        secrets: dict[str, int] = {}
        value = [place if one.digest else secrets.setdefault(one.key, place) for place, one in enumerate(parameters)]
        self.value = np.array(value, dtype=np.int64)
        """The place of the first parameter with the same digest, as far as that matters."""


def _to_buckets(parameters: Sequence[Parameter]) -> tuple[Ids, list[tuple[str, Bucket]]]:
    """Number the buckets that numbers fall into, of each key by itself: -1 for what isn't one."""
    bucket = np.full(len(parameters), -1)
    there = [(place, one.key, one.number) for place, one in enumerate(parameters) if one.number is not None]
    of_number = {number: to_number_bucket(number) for number in {number for _, _, number in there}}
    found, buckets = numbered((key, of_number[number]) for _, key, number in there)
    bucket[[place for place, _, _ in there]] = found
    return bucket, buckets


class Taught(NamedTuple):
    """Which calls of a batch teach, with a column for what isn't in the batch.

    `rows`: of the batch. `endpoints`: all there are, of which `endpoint` is the place; `positions`: where their path parameters
    stand. `callers`: sorted names, of which `caller` is the place; the empty one is anonymous or a population.
    """

    rows: Ids
    endpoints: Sequence[str]
    positions: Sequence[tuple[int, ...]]
    endpoint: Ids
    window: Ids
    callers: Sequence[str]
    caller: Ids


class Lesson:
    """What some calls of a batch teach."""

    def __init__(self, batch: Batch, values: Values, taught: Taught) -> None:
        self.batch = batch
        self.taught = taught
        self._values = values

    @cached_property
    def _sent(self) -> tuple[Ids, Ids, Ids]:
        """All parameters that the calls have: of which call (a place in `rows`), which group, which parameter.

        Groups are places in `endpoints` plus one; 0 is what is shared.
        """
        batch, taught = self.batch, self.taught
        place = np.full(len(batch), -1)
        place[taught.rows] = np.arange(len(taught.rows))
        call = place[batch.owner]
        there = call >= 0
        call, parameter = call[there], batch.sent[there]
        group = np.where(batch.own[parameter], taught.endpoint[call] + 1, 0)
        more, path = self._in_paths()
        return (
            np.concatenate([call, more]),
            np.concatenate([group, taught.endpoint[more] + 1]),
            np.concatenate([parameter, path]),
        )

    def _in_paths(self) -> tuple[Ids, Ids]:
        """The path parameters: of which call, which parameter."""
        batch, taught = self.batch, self.taught
        target = batch.target[taught.rows]
        endpoint_of = np.zeros(len(batch.targets), dtype=np.int64)
        endpoint_of[target] = taught.endpoint
        found: list[tuple[int, ...]] = [()] * len(batch.targets)
        for one in np.unique(target).tolist():
            positions = taught.positions[endpoint_of[one]]
            if positions:
                segments = batch.targets[one].segments
                found[one] = tuple([segments[position] for position in positions])
        lengths = np.array([len(one) for one in found], dtype=np.int64)[target]
        call = np.repeat(np.arange(len(target)), lengths)
        path = [parameter for one in target[lengths > 0].tolist() for parameter in found[one]]
        return call, np.array(path, dtype=np.int64)

    def looks(self) -> Iterator[tuple[str, str, Look, Support]]:
        """Tell what values looked like: endpoint (or `SHARED`), key, look."""
        call, group, parameter = self._sent
        for of, number, support in self._tally(call, group, self._values.look[parameter]):
            key, look = self._values.looks[number]
            yield self._endpoint(of), key, look, support

    def numbers(self) -> Iterator[tuple[str, str, Bucket, Support]]:
        """Tell which numbers came: endpoint (or `SHARED`), key, bucket."""
        call, group, parameter = self._sent
        bucket = self._values.bucket[parameter]
        there = bucket >= 0
        for of, number, support in self._tally(call[there], group[there], bucket[there]):
            key, one = self._values.buckets[number]
            yield self._endpoint(of), key, one, support

    def values(self) -> Iterator[tuple[str, str, Iterator[tuple[str, Support]]]]:
        """Tell which values came: endpoint (or `SHARED`), key, and the digests, made only as far as they are asked for."""
        call, group, parameter = self._sent
        keys, parameters = self._values.keys, self._values.parameters
        slots, slot = np.unique(group * (len(keys) or 1) + self._values.key[parameter], return_inverse=True)
        for place, found in self._tally(call, slot, self._values.value[parameter]).by_group():
            of, key = divmod(int(slots[place]), len(keys))
            yield self._endpoint(of), keys[key], ((parameters[one].digest, support) for one, support in found)

    def forms(self) -> Iterator[tuple[str, int, bool, Support]]:
        """Tell how calls were made up: endpoint, form (a row of the batch's), whether they succeeded."""
        taught = self.taught
        well = self.batch.succeeded[taught.rows]
        every = np.arange(len(taught.rows))
        for of, number, support in self._tally(every, taught.endpoint + 1, self.batch.form[taught.rows] * 2 + well):
            yield self._endpoint(of), number >> 1, bool(number & 1), support

    def calls(self) -> Iterator[Support]:
        """Tell who called at all."""
        every = np.arange(len(self.taught.rows))
        nothing = np.zeros_like(every)
        return (support for _, _, support in self._tally(every, nothing, nothing))

    def principals(self) -> Iterator[tuple[int, str, str, int]]:
        """Tell who called what: window, endpoint, principal, how often."""
        taught = self.taught
        number, names = numbered([sender.principal for sender in self.batch.senders])
        whose = number[self.batch.sender[taught.rows]]
        for window, endpoint, principal, times in to_counts(taught.window, taught.endpoint, whose):
            yield window, taught.endpoints[endpoint], names[principal], times

    def _tally(self, call: Ids, group: Ids, value: Ids) -> Tally:
        taught = self.taught
        return Tally(taught.window[call], group, value, taught.caller[call], taught.callers)

    def _endpoint(self, group: int) -> str:
        return self.taught.endpoints[group - 1] if group else SHARED
