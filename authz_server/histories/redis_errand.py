"""What Redis is asked or told: a script with its keys and arguments, made of a Visit or an OutcomeRecord."""

from hashlib import blake2b
from typing import NamedTuple

from authz_server.engine.record import OutcomeRecord
from authz_server.histories import redis_scripts as scripts
from authz_server.histories.redis_paces import to_arguments
from authz_server.histories.redis_scripts import MARK_KEY, REPLICAS_KEY, Script
from authz_server.histories.visit import Visit, join_key

__all__ = ["Errand", "to_amendment", "to_beat", "to_leave", "to_question", "to_refusal", "to_settlement"]


class Errand(NamedTuple):
    """A script to run, with its keys and arguments."""

    script: Script
    keys: tuple[str, ...]
    args: tuple[str | bytes, ...]


def to_question(visit: Visit, settling_us: str) -> Errand:
    """Ask what came before a call and how fast its caller goes, and count it; nobody is judged for `settling_us` after a hole."""
    digest = "" if visit.join_key.startswith(" ") else _digest(visit.join_key)  # there may be no request id
    cost, bits = to_arguments(visit.footprint)
    decision_id = visit.decision_id
    who = (visit.workload, visit.session, visit.address)
    keys = (MARK_KEY, scripts.decision_key(decision_id))
    return Errand(scripts.VISIT, keys, (*who, visit.endpoint, digest, decision_id, cost, bits, settling_us))


def to_amendment(visit: Visit) -> Errand:
    """Tell of a call that may not have been counted."""
    caller = scripts.caller_key(visit.workload, visit.session)
    return Errand(scripts.AMEND, (MARK_KEY, caller, scripts.decision_key(visit.decision_id)), ())


def to_refusal(visit: Visit, *, relieves: bool = False) -> Errand:
    """Take a call back that was refused; `relieves`: it is no load of its workload either."""
    relief = repr(visit.footprint.cost) if relieves and visit.footprint is not None else ""
    return _settle("d", scripts.decision_key(visit.decision_id), "refuse", relief)


def to_settlement(record: OutcomeRecord) -> Errand | None:
    """Tell how a call ended; None where nothing says which call it was."""
    fate = "stays" if 100 <= record.status < 400 else "fail"
    if record.id:
        return _settle("d", scripts.decision_key(record.id), fate)
    if record.request_id:
        digest = _digest(join_key(record.request_id, record.workload, record.method))
        return _settle("r", scripts.request_key(digest), fate)
    return None


def to_beat(replica: str, *, unnamed: bool, returns: bool) -> Errand:
    """Say that a replica is there; `unnamed`: it made calls that it can't name; `returns`: it begins, or comes back."""
    return Errand(scripts.BEAT, (MARK_KEY, REPLICAS_KEY), (replica, "1" if unnamed else "0", "1" if returns else "0"))


def to_leave(replica: str) -> Errand:
    """Say that a replica ends."""
    return Errand(scripts.LEAVE, (MARK_KEY, REPLICAS_KEY), (replica,))


def _settle(kind: str, key: str, fate: str, relief: str = "") -> Errand:
    return Errand(scripts.SETTLE, (MARK_KEY, key), (kind, fate, relief))


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()
