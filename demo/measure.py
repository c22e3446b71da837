"""Numbers read from outside: the decision log, the authz server's metrics, Envoy's counters, clients' answers.

Everything here reads what any user of meshwarden can read; nothing looks inside the server.
"""

from __future__ import annotations

import json
import math
import re
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from demo.clients import Answer

CHECK_HISTOGRAM = "authz_check_duration_seconds"
_BUCKET = re.compile(rf'^{CHECK_HISTOGRAM}_bucket{{(?:.*,)?le="([^"]+)".*}} ([0-9.e+]+)', re.MULTILINE)
_UNANSWERED = re.compile(r"^http\.inbound\.ext_authz\.error: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Denial:
    """One deny, would-be deny or alert of the decision log. `code` and `reason` are those of the first Finding."""

    workload: str
    mode: str
    basis: str
    refused: bool
    endpoint: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles in milliseconds; NaN when nothing was measured."""

    p50_ms: float
    p99_ms: float

    def to_json(self) -> dict[str, float | None]:
        """The quantiles with three digits behind the point, None for NaN."""
        return {
            name: None if math.isnan(value) else round(value, 3)
            for name, value in (("p50_ms", self.p50_ms), ("p99_ms", self.p99_ms))
        }


def denials(decision_log: Path) -> Mapping[str, list[Denial]]:
    """Read all denials of a decision log by request id; one outside call can have several, one per workload."""
    found: dict[str, list[Denial]] = defaultdict(list)
    if not decision_log.exists():
        return found
    with decision_log.open(encoding="utf-8") as lines:
        for line in lines:
            if '"deny"' not in line or not line.endswith("\n"):
                continue
            entry = json.loads(line)
            if entry.get("event") == "decision" and entry["verdict"] == "deny":
                finding = (entry.get("findings") or [{}])[0]
                denial = Denial(
                    workload=entry.get("workload") or "",
                    mode=entry["mode"],
                    basis=entry["basis"],
                    refused=entry["refused"],
                    endpoint=entry.get("endpoint") or "",
                    code=finding.get("code", ""),
                    reason=finding.get("text", ""),
                )
                found[entry.get("request_id") or ""].append(denial)
    return found


def latency_of(answers: Iterable[Answer]) -> Latency:
    """How long clients waited; requests without an answer are left out."""
    seconds = sorted(answer.seconds for answer in answers if answer.status)
    if not seconds:
        return Latency(math.nan, math.nan)
    return Latency(*(1000 * seconds[min(len(seconds) - 1, int(len(seconds) * share))] for share in (0.5, 0.99)))


def check_latency(metrics: str) -> Latency:
    """The server's own time for a Check, from its Prometheus text, interpolated inside a bucket.

    >>> check_latency('authz_check_duration_seconds_bucket{le="0.001"} 50').p50_ms
    0.5
    """
    counts: dict[float, float] = defaultdict(float)
    for bound, count in _BUCKET.findall(metrics):
        counts[float(bound)] += float(count)
    buckets = sorted(counts.items())
    return Latency(*(1000 * _quantile(buckets, share) for share in (0.5, 0.99)))


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    if not buckets or buckets[-1][1] == 0:
        return math.nan
    rank, lower, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def fetch(url: str) -> str:
    """Read one page of an admin address."""
    with urllib.request.urlopen(url, timeout=5.0) as response:  # noqa: S310, the URLs are our own
        return str(response.read().decode())


def unanswered_checks(envoy_admins: Iterable[str]) -> int:
    """How many Checks got no answer in time so far, over all sidecars; with failure_mode_allow those calls passed."""
    pages = (fetch(f"{admin}/stats?filter=ext_authz") for admin in envoy_admins)
    return sum(int(count) for page in pages for count in _UNANSWERED.findall(page))
