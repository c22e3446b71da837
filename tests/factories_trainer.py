"""Factories for the tests of training: batches of records."""

from collections.abc import Sequence

from authz_server.engine.record import CallRecord
from trainer.batch import Batch
from trainer.batch_builder import BatchBuilder
from trainer.partial_record import to_stored

__all__ = ["batches", "to_batch"]


def to_batch(records: Sequence[CallRecord]) -> Batch:
    """Put records of one workload, at least one, into one batch."""
    builder = BatchBuilder(records[0].workload)
    builder.add(list(to_stored(records)))
    return builder.build()


def batches(records: Sequence[CallRecord]) -> list[Batch]:
    """Put records of one workload into a batch; none, if there are none."""
    return [to_batch(records)] if records else []
