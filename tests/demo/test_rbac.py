"""The translator gives what istiod gives: Istio's own golden pairs, read from beside the checkout."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2  # noqa: F401  # to be known to the parser
from google.protobuf import json_format

from demo.processes import ROOT
from demo.rbac import http_filters, network_filters, to_rules
from trainer.policies.policy import AuthorizationPolicy, Metadata, Operation, Rule, Spec, To, from_object

pytestmark = pytest.mark.filterwarnings("ignore:(Principal|Permission).metadata is deprecated:DeprecationWarning")

GOLDEN = ROOT.parent / "shared" / "istio" / "builder"
PAIRS = 17


def _cases() -> Iterator[Path]:
    for kind in ("http", "tcp"):
        yield from sorted((GOLDEN / kind).glob("*-in.yaml"))


needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="Istio's golden pairs aren't there: ../shared/istio/builder")


@needs_golden
def test_all_golden_pairs_are_there() -> None:
    assert PAIRS == len(list(_cases()))


@needs_golden
@pytest.mark.parametrize("path", [pytest.param(path, id=f"{path.parent.name}-{path.name[:-8]}") for path in _cases()])
def test_filters_are_those_that_istiod_makes(path: Path) -> None:
    policies = [from_object(document) for document in yaml.safe_load_all(path.read_text()) if document]
    outs = sorted(path.parent.glob(path.name.replace("-in.yaml", "-out*.yaml")))
    wanted = [yaml.safe_load(out.read_text()) for out in outs]
    tcp = path.parent.name == "tcp"
    kind = network.RBAC if tcp else http.RBAC
    configs = [{key: value for key, value in one["typedConfig"].items() if key != "@type"} for one in wanted]
    expected = [json_format.ParseDict(config, kind()) for config in configs]
    rules = to_rules(policies, tcp=tcp)
    assert expected == [kind.FromString(bytes(one.network if tcp else one.http)) for one in rules]
    names = [one.name for one in (network_filters(policies) if tcp else http_filters(policies))]
    assert [one["name"] for one in wanted] == names


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ("ALLOW", ["ns[shop]-policy[p]-rule[1]"]),
        ("DENY", ["ns[shop]-policy[p]-rule[0]", "ns[shop]-policy[p]-rule[1]"]),
    ],
)
def test_a_port_that_is_none_drops_a_rule_that_allows_and_widens_one_that_denies(action: str, names: list[str]) -> None:
    rules = (Rule(to=(To(Operation(ports=("none",))),)), Rule())
    found = to_rules([AuthorizationPolicy(Metadata("p", "shop"), Spec(action=action, rules=rules))])
    assert found[0].enforced is not None
    assert names == sorted(found[0].enforced.policies)
