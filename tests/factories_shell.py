"""Factories for the shell's tests: valid by default, overriding only what the test is about."""

from typing import Any

from authz_server.engine.calibration import Calibration
from authz_server.engine.edges import EdgeModel
from authz_server.engine.finding import Finding, FindingCode
from authz_server.engine.model import WorkloadModel
from authz_server.engine.policy import Enforcement, Mode, Rule, WorkloadPolicy
from authz_server.engine.profile import EndpointProfile
from authz_server.engine.sequence import SequenceModel
from authz_server.engine.verdict import Action, Basis, Verdict

KEY_ID = "0011223344556677"


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "code": FindingCode.RANGE,
        "text": "`count` was -1; in 48,211 calls it was an integer from 1 to 12",
        "seen": "-1",
        "normal": "an integer from 1 to 12",
        "evidence": 48_211,
        "chance": 1e-5,
        "location": "body",
        "name": "/count",
    }
    return Finding(**{**values, **changes})


def verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "action": Action.ALLOW,
        "basis": Basis.JUDGED,
        "mode": Mode.ENFORCE,
        "workload": "shop/cart",
        "decision_id": "5f0c2a",
        "revision": "abc",
        "endpoint": "POST /cart/{*}",
        "p_value": 0.5,
        "score": 0.25,
        "budget": 1e-3,
        "method": "POST",
        "path": "/cart/00",
        "caller": "cluster.local/ns/shop/sa/web",
        "session": "aabbccddeeff",
        "request_id": "r-1",
        "ts": 1_750_000_000.5,
    }
    return Verdict(**{**values, **changes})


def deny(**changes: Any) -> Verdict:
    return verdict(**{"action": Action.DENY, "p_value": 1e-5, "reasons": (finding(),), **changes})


def enforcement(*, workloads: dict[str, WorkloadPolicy] | None = None, **defaults: Any) -> Enforcement:
    return Enforcement(Rule(**defaults), workloads or {})


def workload_model(workload: str = "shop/cart", **changes: Any) -> WorkloadModel:
    values: dict[str, Any] = {
        "workload": workload,
        "n": 1000,
        "first_ts": 1.0,
        "last_ts": 2.0,
        "endpoints": {
            "POST /cart/{*}": EndpointProfile(n=600, parameters={}, surprises={FindingCode.UNKNOWN_PARAMETER: 3.0}),
            "GET /cart": EndpointProfile(n=400, parameters={}, surprises={}),
        },
        "shared": EndpointProfile(n=1000, parameters={}, surprises={}),
        "sequence": SequenceModel(),
        "calibration": {"": Calibration(n=500, scores=(1.0, 2.0))},
        "surprises": {FindingCode.UNKNOWN_ENDPOINT: 4.0},
        "edges": EdgeModel(1000, {"cluster.local/ns/shop/sa/web": 900, "cluster.local/ns/shop/sa/pay": 100}, 3.0),
    }
    return WorkloadModel(**{**values, **changes})
