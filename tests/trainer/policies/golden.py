"""Golden pairs of the generator: `NAME.in.yaml` says what was learned, `NAME.out.yaml` which policies come of it or why none.

Written anew by `REFRESH_GOLDEN=1 pytest tests/trainer/policies/generation`; then read the diff.
"""

from pathlib import Path
from typing import Any

from authz_server.strict_yaml import parse_yaml
from trainer.description import Description, EndpointFacts
from trainer.policies.document import to_text
from trainer.policies.exceptions import parse_exceptions
from trainer.policies.generation.generate import Refused, to_policies
from trainer.policies.generation.grants import to_grants
from trainer.policies.generation.learned import to_learned
from trainer.policies.policy import AuthorizationPolicy, Metadata, Spec, to_object

FOLDER = Path(__file__).parent / "testdata" / "generate"
CASES = sorted(file.name.removesuffix(".in.yaml") for file in FOLDER.glob("*.in.yaml"))
FIRST_TS, LAST_TS = 1_700_000_000.0, 1_701_000_000.0


def endpoint(principals: dict[str, int], **changes: Any) -> EndpointFacts:
    calls = sum(principals.values())
    facts: dict[str, Any] = {"calls": calls, "taught": calls, "first_ts": FIRST_TS, "last_ts": LAST_TS, "responses": {}}
    return EndpointFacts(**facts | {"principals": principals} | changes)


def description(calls: dict[str, dict[str, int]], workload: str = "shop/cart") -> Description:
    return Description(workload, {name: endpoint(principals) for name, principals in sorted(calls.items())}, 0)


def produce(case: str) -> str:
    """Generate what `NAME.out.yaml` should hold."""
    given, problems = parse_yaml((FOLDER / f"{case}.in.yaml").read_bytes())
    assert problems == []
    exceptions = parse_exceptions(given.get("exceptions", "version: 1").encode())
    learned = to_learned(description(given["calls"], given.get("workload", "shop/cart")))
    granted = to_grants(learned, exceptions.of(learned.workload))
    name = f"meshwarden-allow-{learned.workload.partition('/')[2]}"
    old = {name: AuthorizationPolicy(Metadata(name), Spec())} if given.get("promoted") else {}
    said = "".join([f"{note}\n" for note in granted.notes])
    try:
        policies = to_policies(learned, granted, exceptions, "r1", given.get("custom"), old)
    except Refused as refused:
        return to_text([], said + "".join([f"refused: {reason}\n" for reason in refused.reasons]))
    return to_text([to_object(policy) for policy in policies], said)
