"""Which calls of a batch have nothing odd about them by themselves, found out once for all that are alike.

What the point model (`engine/parameters.py`) says of a call follows from each of its parameters and from its form. Where none of
them is odd the call is plain, and needn't be scored. The rest is scored by the engine: to take a plain call for odd costs no more
than time.
"""

from collections.abc import Sequence

import numpy as np

from authz_server.engine.call import BodyKind, Parameter
from authz_server.engine.model import ReadyModel
from authz_server.engine.parameters import score_parameter
from authz_server.engine.profile import EndpointProfile, ParameterProfile
from trainer.batch import Batch, Form, Ids, Mask
from trainer.shape import to_combination

__all__ = ["to_plain"]


def to_plain(batch: Batch, rows: Ids, endpoints: Sequence[str], ready: ReadyModel) -> Mask:
    """Tell which calls are plain, `rows` of the batch; `endpoints`: of each target, as the model matches it, empty: none."""
    known = list(ready.model.endpoints)
    places = {endpoint: place for place, endpoint in enumerate(known)}
    place_of = [
        places[endpoint] if endpoint and ready.numeric is None and _is_plain_path(batch.segments(target), endpoint, ready) else -1
        for target, endpoint in enumerate(endpoints)
    ]
    place = np.array(place_of, dtype=np.int64)[batch.target[rows]]
    plain: Mask = place >= 0
    profiles = [ready.model.endpoints[endpoint] for endpoint in known]
    plain[plain] = _plain_forms(batch.forms, batch.form[rows][plain], profiles, place[plain])
    plain[plain] = _plain_parameters(batch, rows[plain], profiles, place[plain], ready.model.shared)
    return plain


def _is_plain_path(segments: Sequence[Parameter], endpoint: str, ready: ReadyModel) -> bool:
    profiles = ready.model.endpoints[endpoint].parameters
    there = [segments[position] for position in ready.positions[endpoint]]
    return not any(one.key in profiles and score_parameter(one, profiles[one.key]) for one in there)


def _plain_forms(forms: Sequence[Form], form: Ids, profiles: Sequence[EndpointProfile], place: Ids) -> Mask:
    """Judge each distinct form at each endpoint once."""
    pairs, pair = np.unique(place * len(forms) + form, return_inverse=True)
    plain = [_is_plain_form(forms[one % len(forms)], profiles[one // len(forms)]) for one in pairs.tolist()]
    return np.array(plain, dtype=np.bool_)[pair]


def _is_plain_form(form: Form, profile: EndpointProfile) -> bool:
    if form.body is BodyKind.TRUNCATED or form.body not in profile.bodies or not profile.flags.issuperset(form.flags):
        return False
    if profile.combinations is not None:
        return to_combination(form.keys) in profile.combinations
    return profile.required.keys() <= set(form.keys)


def _plain_parameters(batch: Batch, rows: Ids, profiles: Sequence[EndpointProfile], place: Ids, shared: EndpointProfile) -> Mask:
    """Judge each distinct parameter at each endpoint once; those that are sent everywhere alike once in all."""
    at = np.full(len(batch), -1)
    at[rows] = np.arange(len(rows))
    call = at[batch.owner]
    there = call >= 0
    call, parameter = call[there], batch.sent[there]
    group = np.where(batch.own[parameter], place[call] + 1, 0)
    width = len(batch.parameters) or 1
    pairs, pair = np.unique(group * width + parameter, return_inverse=True)
    of_group = [shared.parameters, *(profile.parameters for profile in profiles)]
    odd = _judged(batch, [divmod(one, width) for one in pairs.tolist()], of_group)
    plain = np.ones(len(rows), dtype=np.bool_)
    plain[call[np.array(odd, dtype=np.bool_)[pair]]] = False
    return plain


def _judged(batch: Batch, pairs: Sequence[tuple[int, int]], of_group: Sequence[dict[str, ParameterProfile]]) -> list[bool]:
    """Tell which parameters (rows of the batch's) are odd, each in its group; alike ones with the same number are judged once."""
    alike: list[int] = batch.alike[0].tolist()
    known: dict[tuple[int, int, float | None], bool] = {}
    odd = []
    for group, row in pairs:
        parameter = batch.parameters[row]
        profile = of_group[group].get(parameter.key)
        if profile is None or (profile.values is not None and parameter.digest in profile.values):
            odd.append(profile is None)
            continue
        kind = (group, alike[row], parameter.number)
        found = known.get(kind)
        if found is None:
            found = known[kind] = bool(score_parameter(parameter, profile))
        odd.append(found)
    return odd
