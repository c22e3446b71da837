"""Who is behind the calls of a batch, as `tally.py` wants it told."""

from collections.abc import Collection

import numpy as np

from trainer.batch import Batch, Ids
from trainer.eligible import caller_of

__all__ = ["to_callers"]


def to_callers(batch: Batch, anonymous: Collection[str]) -> tuple[list[str], Ids]:
    """Name the callers of a batch: the distinct names, sorted, and for each call the place of its caller's name.

    Those in `anonymous` have the empty name, as those that nobody knows: a population isn't one caller, each of its calls counts
    as a caller of its own.
    """
    of_sender = [name if (name := caller_of(sender)) not in anonymous else "" for sender in batch.senders]
    names = sorted(set(of_sender))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[name] for name in of_sender])[batch.sender]
