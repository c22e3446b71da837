"""What `match` says of policies is what a real Envoy does under the translator's filters: random policies, random requests."""

import random
import ssl
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from demo.identities import Authority
from demo.processes import free_ports
from tests.e2e import policy_cases, policy_envoy
from tests.e2e.policy_cases import CLAIMS, IDENTITIES, NAMES, PEERS, SOURCES, Case
from tests.e2e.policy_envoy import Ports
from trainer.policies.meaning.match import Request, Shadow, Truth, decide
from trainer.policies.policy import AuthorizationPolicy

pytestmark = pytest.mark.filterwarnings("ignore:(Principal|Permission).metadata is deprecated:DeprecationWarning")

GROUPS: Final = 50
REQUESTS_EACH: Final = 205
NETWORK_GROUPS: Final = 25
SEED: Final = 20_261_122
_DENIED_BY: Final = "rbac_access_denied_matched_policy["


def test_match_answers_as_a_real_envoy_does(tmp_path: Path, authority: Authority) -> None:
    rng = random.Random(SEED)
    ports = Ports(*free_ports(len(Ports._fields)))
    groups = [policy_cases.policies(rng, list(ports)) for _ in range(GROUPS)]
    contexts = _contexts(authority)
    cases = _cases(rng, ports)
    envoy = policy_envoy.start(tmp_path, ports, groups, {}, authority.issue(IDENTITIES[0]))
    try:
        _ask(cases, ports, contexts)
        answers = policy_envoy.answers(tmp_path, len(cases))
    finally:
        envoy.stop()
    assert len(cases) >= 10_000
    assert len(cases) == len(answers)
    met = [(case, answers[case.id], decide(groups[case.group], _request(case, answers[case.id], ports))) for case in cases]
    differences = [
        (case, answer, said)
        for case, answer, said in met
        if (_enforced(answer), _shadows(answer, groups[case.group])) != (_said(said), _said_shadows(said, groups[case.group]))
    ]
    assert [] == differences[:5]
    spread = Counter(said.allowed for _, _, said in met)
    assert min(spread[True], spread[False]) > len(cases) // 5, "too one-sided to show anything"


def test_match_answers_as_a_real_envoy_does_on_ports_without_http(tmp_path: Path, authority: Authority) -> None:
    rng = random.Random(SEED + 1)
    ports = free_ports(NETWORK_GROUPS)
    network = {port: policy_cases.policies(rng, ports[:3]) for port in ports}
    contexts = _contexts(authority)
    envoy = policy_envoy.start(tmp_path, Ports(*free_ports(4)), [], network, authority.issue(IDENTITIES[0]))
    differences, count = [], Counter[Truth]()
    try:
        for port, policies in network.items():
            for identity in IDENTITIES:
                source, name = rng.choice(SOURCES), rng.choice(NAMES)
                request = Request(
                    principal=identity.principal,
                    port=port,
                    source_ip=source,
                    remote_ip=source,
                    destination_ip="127.0.0.1",
                    sni=name,
                    metadata={},
                    tcp=True,
                )
                said = decide(policies, request).allowed
                count[said] += 1
                if said != policy_envoy.alive(port, source, contexts[identity.principal], name):
                    differences.append((policies, request, said))
    finally:
        envoy.stop()
    assert [] == differences[:3]
    assert min(count[True], count[False]) > 10, "too one-sided to show anything"


def _contexts(authority: Authority) -> dict[str, ssl.SSLContext]:
    return {identity.principal: policy_envoy.client_context(authority.issue(identity)) for identity in IDENTITIES}


def _cases(rng: random.Random, ports: Ports) -> list[Case]:
    """Make as many requests for each group, at any port: with mutual TLS of a real identity, else of any peer that can be."""
    cases = []
    for number in range(GROUPS * REQUESTS_EACH):
        port = rng.choice(ports)
        identity = rng.choice(IDENTITIES).principal
        peer = "" if port == ports.plain else rng.choice(PEERS) if port == ports.state else identity
        name = rng.choice(NAMES) if port in (ports.mutual, ports.token) else ""
        cases.append(policy_cases.request(rng, number, number % GROUPS, port, peer, name))
    return cases


def _ask(cases: Sequence[Case], ports: Ports, contexts: dict[str, ssl.SSLContext]) -> None:
    together = defaultdict(list)
    for case in cases:
        secure = case.port in (ports.mutual, ports.token)
        together[case.port, case.source, case.peer if secure else "", case.name].append(case)
    for (_, _, peer, _), some in together.items():
        policy_envoy.ask(some, contexts.get(peer))


def _request(case: Case, answer: dict[str, Any], ports: Ports) -> Request:
    """The request as the filters saw it: path and authority are what Envoy's own normalisation made of them."""
    headers = {":method": (case.method,), "x-color": case.color}
    return Request(
        principal=case.peer,
        method=case.method,
        path=answer["path"],
        host=answer["host"],
        port=case.port,
        headers=headers,
        source_ip=case.source,
        remote_ip=case.forwarded.split(",")[-1].strip() or case.source,
        destination_ip="127.0.0.1",
        sni=case.name,
        claims=CLAIMS if case.port == ports.token else {},
        metadata={},
    )


def _enforced(answer: dict[str, Any]) -> tuple[bool, str]:
    """Whether Envoy let it pass, and the DENY rule that didn't."""
    if answer["status"] == 200:
        return True, ""
    assert answer["status"] == 403, answer
    assert answer["details"].startswith(_DENIED_BY), answer
    return False, answer["details"].removeprefix(_DENIED_BY).removesuffix("]").removeprefix("none")


def _said(said: Any) -> tuple[Truth, str]:
    return said.allowed, "" if said.allowed else said.rule


def _shadows(answer: dict[str, Any], policies: Sequence[AuthorizationPolicy]) -> list[Shadow | None]:
    found = []
    for action in ("deny", "allow"):
        result = answer[f"{action}_result"]
        found.append(None if result is None else Shadow(result == "allowed", answer[f"{action}_rule"] or ""))
    return found


def _said_shadows(said: Any, policies: Sequence[AuthorizationPolicy]) -> list[Shadow | None]:
    """What the filters leave behind: those that come after the one that refused leave nothing."""
    return [said.shadow_deny, None if said.allowed is False and said.rule else said.shadow_allow]
