"""Looking a call up in the enforcement policy."""

import pytest

from authz_server.engine.policy import EndpointPolicy, Enforcement, Mode, Rule, SessionSource, WorkloadPolicy

COOKIE = (SessionSource(cookie="sid"),)
DEFAULTS = Rule(Mode.DRY_RUN, 1e-3, failure_mode_allow=True, non_http_allow=True)
ENFORCEMENT = Enforcement(
    DEFAULTS,
    {
        "shop/cart": WorkloadPolicy(
            mode=Mode.ENFORCE,
            budget=1e-4,
            failure_mode_allow=False,
            non_http_allow=False,
            session=COOKIE,
            endpoints={
                "GET /health": EndpointPolicy(mode=Mode.OFF),
                "POST /pay": EndpointPolicy(budget=1e-5),
                "": EndpointPolicy(mode=Mode.DRY_RUN),
            },
        ),
        "shop/audit": WorkloadPolicy(),
    },
)


@pytest.mark.parametrize(
    ("workload", "endpoint", "rule"),
    [
        ("unknown", "GET /x", DEFAULTS),
        ("shop/audit", "GET /x", DEFAULTS),
        ("shop/cart", "GET /x", Rule(Mode.ENFORCE, 1e-4, failure_mode_allow=False, non_http_allow=False, session=COOKIE)),
        ("shop/cart", "GET /health", Rule(Mode.OFF, 1e-4, failure_mode_allow=False, non_http_allow=False, session=COOKIE)),
        ("shop/cart", "POST /pay", Rule(Mode.ENFORCE, 1e-5, failure_mode_allow=False, non_http_allow=False, session=COOKIE)),
        ("shop/cart", "", Rule(Mode.DRY_RUN, 1e-4, failure_mode_allow=False, non_http_allow=False, session=COOKIE)),
    ],
)
def test_the_narrowest_setting_holds(workload: str, endpoint: str, rule: Rule) -> None:
    assert rule == ENFORCEMENT.endpoint(workload, endpoint)


def test_workload_as_a_whole() -> None:
    assert ENFORCEMENT.workload("shop/cart").mode is Mode.ENFORCE
    assert ENFORCEMENT.workload("unknown") == DEFAULTS


def test_defaults_are_safe() -> None:
    assert (Rule().mode, Rule().failure_mode_allow) == (Mode.DRY_RUN, True)
