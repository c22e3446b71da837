"""Scores calls of a batch as the engine does (`engine/decide.py`), but what is alike only once."""

import numpy as np

from authz_server.engine.decide import score
from authz_server.engine.edges import score_edge
from authz_server.engine.finding import Surprise
from authz_server.engine.history import CallerHistory
from authz_server.engine.model import ReadyModel
from trainer.batch import Batch, Ids, Mask
from trainer.plain import to_plain
from trainer.tally import numbered

__all__ = ["Scorer"]


class Scorer:
    """One model, and those calls of one batch, `rows` of it, that it scores.

    `endpoints`: of each target of these calls, as the model matches it, empty: none. For each call of the batch, `plain`: there
    is nothing odd about it by itself; `known`: nor about who calls.
    """

    def __init__(self, ready: ReadyModel, batch: Batch, rows: Ids) -> None:
        self._ready = ready
        self._batch = batch
        self.endpoints = [""] * len(batch.targets)
        for target in np.unique(batch.target[rows]).tolist():
            self.endpoints[target] = ready.table.match(batch.targets[target].method, batch.segments(target))[0]
        self.plain: Mask = np.zeros(len(batch), dtype=np.bool_)
        self.plain[rows] = to_plain(batch, rows, self.endpoints, ready)
        stranger, self._strangers = self._find_strangers(rows)
        self.known: Mask = np.zeros(len(batch), dtype=np.bool_)
        self.known[rows] = np.array([one is None for one in self._strangers], dtype=np.bool_)[stranger[rows]]
        self._populations = ready.model.sequence.populations
        self._sessions = [sender.session for sender in batch.senders]
        # Lists, since to take one number out of an array takes longer.
        self._is_plain: list[bool] = self.plain.tolist()
        self._sender: list[int] = batch.sender.tolist()
        self._target: list[int] = batch.target.tolist()
        self._stranger: list[int] = stranger.tolist()

    def _find_strangers(self, rows: Ids) -> tuple[Ids, list[Surprise | None]]:
        """Judge who calls what: for each call, which judgement is its own."""
        batch = self._batch
        place, endpoints = numbered(self.endpoints)
        number, principals = numbered([sender.principal for sender in batch.senders])
        pairs, pair = np.unique(place[batch.target[rows]] * len(principals) + number[batch.sender[rows]], return_inverse=True)
        stranger = np.zeros(len(batch), dtype=np.int64)
        stranger[rows] = pair
        found = [divmod(one, len(principals)) for one in pairs.tolist()]
        edges = self._ready.model.edges
        return stranger, [score_edge(endpoints[endpoint], principals[principal], edges) for endpoint, principal in found]

    def score(self, row: int, history: CallerHistory | None) -> list[Surprise]:
        """List the surprises of one of the calls; `history` None: its sequence isn't judged."""
        if not self._is_plain[row]:
            call = self._batch.call(row)
            return score(call, self._ready, self._ready.match(call), history)
        found = []
        if history is not None and self._sessions[self._sender[row]] not in self._populations:
            out_of_order = self._ready.sequence.score(self.endpoints[self._target[row]], history)
            if out_of_order is not None:
                found.append(out_of_order)
        stranger = self._strangers[self._stranger[row]]
        if stranger is not None:
            found.append(stranger)
        return found
