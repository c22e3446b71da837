"""What the mesh's own dry run counted: Envoy's RBAC shadow counters, from Prometheus or from a file with their text.

In: a Prometheus server's address or Envoy's `/stats/prometheus` text. Out: a DryRun. How the counter is named lives here:

Envoy counts `http.<prefix>.rbac.istio_dry_run_allow_.shadow_denied` (RBAC filter, `shadow_rules_stat_prefix`), and Istio's
bootstrap takes action and result out of the name as labels, so Prometheus has
`envoy_http_<prefix>_rbac{authz_dry_run_action="allow", authz_dry_run_result="denied"}` (Istio's task "Dry Run"; `stats_tags` of
its bootstrap). The counters are the workload's, not the policy's: with `allow`, `denied` means that no ALLOW policy that is a
dry run matched.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from authz_server.engine.errors import FormatError, SettingError, cut
from trainer.policies.policy import AuthorizationPolicy
from trainer.policies.promotion.gate import DryRun

__all__ = ["ask_prometheus", "read_metrics", "to_queries"]

_TIMEOUT: Final = 20.0
_MAX_BYTES: Final = 4 * 2**20
_TAGGED = re.compile(r"envoy_http_(?:.+_)?rbac\Z")
_PLAIN = re.compile(r"envoy_http_(?:.+_)?rbac_istio_dry_run_(allow|deny)_+shadow_(allowed|denied)\Z")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9_]")


def to_queries(policy: AuthorizationPolicy, days: int, namespace_label: str = "namespace") -> tuple[str, str]:
    """Spell what is asked for a policy: what the counters of the pods that it selects grew by, and those that are new, in whole.

    A pod that is younger than the window has counters that Prometheus saw at their first count, not at nought, so that
    `increase` misses it. Pods are told by namespace and by the labels of the policy's selector, as Istio's and most scrape
    configurations keep them.
    """
    labels = {namespace_label: policy.metadata.namespace}
    if policy.spec.selector is not None:
        labels |= {_NOT_LABEL.sub("_", name): value for name, value in policy.spec.selector.match_labels.items()}
    labels["authz_dry_run_action"] = policy.spec.action.lower()
    chosen = ",".join([f"{name}={json.dumps(value)}" for name, value in labels.items()])
    counters = f'{{__name__=~"envoy_http_.*rbac",{chosen}}}'
    grown = f"sum by (authz_dry_run_result) (increase({counters}[{days}d]))"
    new = f"last_over_time({counters}[{days}d]) unless last_over_time({counters}[{days}d] offset {days}d)"
    return grown, f"sum by (authz_dry_run_result) ({new})"


def ask_prometheus(url: str, policy: AuthorizationPolicy, days: int, namespace_label: str = "namespace") -> DryRun:
    """Ask a Prometheus server (`/api/v1/query`); raises SettingError where it doesn't answer, FormatError where it isn't one."""
    answers = [_query(url, query) for query in to_queries(policy, days, namespace_label)]
    return DryRun(*(max(answer.get(result, 0.0) for answer in answers) for result in ("allowed", "denied")))


def read_metrics(text: str, action: str) -> DryRun:
    """Add up the counters of one workload's Envoys, as `/stats/prometheus` shows them; raises FormatError.

    `action`: the policy's. Everything in the text counts, so it must be of that workload alone, and since its Envoys started.
    """
    found = {"allowed": 0.0, "denied": 0.0}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                result = _result(sample.name, sample.labels, action.lower())
                if result in found:
                    found[result] += sample.value
    except ValueError as error:
        raise FormatError(f"metrics: expected Prometheus' text format, got {cut(error)}") from error
    return DryRun(found["allowed"], found["denied"])


def _result(name: str, labels: Mapping[str, str], action: str) -> str:
    """Tell which result a sample counts; empty where it is none of a dry run of that action."""
    name = name.removesuffix("_total")
    plain = _PLAIN.match(name)
    if plain is not None:
        return plain.group(2) if plain.group(1) == action else ""
    if _TAGGED.match(name) and labels.get("authz_dry_run_action") == action:
        return labels.get("authz_dry_run_result", "")
    return ""


def _query(url: str, query: str) -> dict[str, float]:
    place = f"{url.rstrip('/')}/api/v1/query"
    try:
        answer = urllib3.request("GET", place, fields={"query": query}, timeout=_TIMEOUT, retries=False, preload_content=False)
        data = answer.read(_MAX_BYTES)
        answer.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise SettingError(f"prometheus: expected an answer from {cut(url)}, got {cut(type(error).__name__)}") from error
    try:
        document = json.loads(data)
        if document["status"] != "success":
            raise FormatError(f"prometheus: expected an answer to {query}, got {cut(document.get('error'))!r}")
        return {one["metric"].get("authz_dry_run_result", ""): float(one["value"][1]) for one in document["data"]["result"]}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise FormatError(
            f"prometheus: expected Prometheus' answer from {cut(url)}, got status {answer.status} and no such"
        ) from error
