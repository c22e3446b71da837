"""From a Verdict to the bytes of a CheckResponse, against what protobuf itself builds."""

import uuid
from typing import Any

import msgspec
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf.json_format import MessageToDict
from google.rpc.code_pb2 import OK, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE
from hypothesis import given, settings
from hypothesis import strategies as st

from authz_server.engine.finding import Finding, FindingCode
from authz_server.engine.policy import Mode
from authz_server.engine.verdict import Action, Basis, Verdict
from authz_server.response import DECISION_ID_HEADER, to_response
from tests.factories_shell import verdict as usual_verdict

ID = "0123456789abcdef0123456789abcdef"
FINDING = Finding(
    FindingCode.RANGE, "`count` was -1; in 48,211 calls it was an integer from 1 to 12", "-1", "from 1 to 12", 48_211, 1e-5
)


def verdict(**changes: Any) -> Verdict:
    usual = {"decision_id": ID, "revision": "r-2026", "endpoint": "GET /cart/{*}", "p_value": 0.25}
    return usual_verdict(**usual | changes)


def deny(**changes: Any) -> Verdict:
    return verdict(**{"action": Action.DENY, "p_value": 1e-5, "reasons": (FINDING,), **changes})


def parsed(made: Verdict) -> CheckResponse:
    return CheckResponse.FromString(to_response(made))


def metadata(made: Verdict) -> dict[str, Any]:
    fields: dict[str, Any] = MessageToDict(parsed(made).dynamic_metadata)
    return fields


def test_allow_equals_what_protobuf_builds() -> None:
    expected = CheckResponse()
    expected.status.code = OK
    expected.ok_response.SetInParent()
    expected.dynamic_metadata.update(
        {
            "verdict": "allow",
            "mode": "enforce",
            "endpoint": "GET /cart/{*}",
            "revision": "r-2026",
            "reason": "judged",
            "decision_id": ID,
            "p_value": 0.25,
        }
    )
    assert parsed(verdict()) == expected


VERDICTS = [
    ("allow", verdict(), OK),
    ("deny", deny(), PERMISSION_DENIED),
    ("would deny", deny(mode=Mode.DRY_RUN), OK),
    ("off", verdict(mode=Mode.OFF, basis=Basis.OFF), OK),
    ("nothing learned", verdict(basis=Basis.NO_MODEL, endpoint="", revision="", p_value=1.0), OK),
    ("could not judge, closed", verdict(basis=Basis.ERROR, action=Action.DENY), UNAVAILABLE),
    ("could not judge, open", verdict(basis=Basis.ERROR), OK),
    ("not HTTP, closed", verdict(basis=Basis.NOT_HTTP, action=Action.DENY), PERMISSION_DENIED),
]


@pytest.mark.parametrize(("made", "code"), [case[1:] for case in VERDICTS], ids=[case[0] for case in VERDICTS])
def test_status_and_metadata_of_every_answer(made: Verdict, code: int) -> None:
    answer = parsed(made)
    assert code == answer.status.code
    assert ("ok_response" if code == OK else "denied_response") == answer.WhichOneof("http_response")
    assert metadata(made) == {
        "verdict": made.action.value,
        "mode": made.mode.value,
        "endpoint": made.endpoint,
        "revision": made.revision,
        "reason": made.reason,
        "decision_id": made.decision_id,
        "p_value": made.p_value,
    }


def test_deny_is_problem_details_with_the_decision_id_and_no_reason() -> None:
    answer = parsed(deny()).denied_response
    assert answer.status.code == 403
    headers = {option.header.key: option.header.value for option in answer.headers}
    assert headers == {"content-type": "application/problem+json", "cache-control": "no-store", DECISION_ID_HEADER: ID}
    assert msgspec.json.decode(answer.body) == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "The request was refused.",
        "instance": f"urn:uuid:{uuid.UUID(ID)}",
        "decision_id": ID,
    }


@pytest.mark.parametrize("code", list(FindingCode))
def test_what_the_client_gets_says_nothing_of_why(code: FindingCode) -> None:
    one, other = deny(reasons=(msgspec.structs.replace(FINDING, code=code),)), deny(endpoint="", p_value=1e-9, revision="x")
    assert parsed(one).denied_response == parsed(other).denied_response
    shown = str(parsed(one).denied_response)
    assert not [word for word in ("count", "48,211", "range", "cart", "r-2026", "1e-05") if word in shown]


def test_a_failure_is_503_and_not_the_clients_fault() -> None:
    answer = parsed(verdict(basis=Basis.ERROR, action=Action.DENY)).denied_response
    assert answer.status.code == 503
    assert msgspec.json.decode(answer.body)["title"] == "Service Unavailable"


def test_who_is_too_fast_gets_429_and_is_told_when_to_come_back() -> None:
    answer = parsed(deny(retry_after=17))
    headers = {option.header.key: option.header.value for option in answer.denied_response.headers}
    problem = msgspec.json.decode(answer.denied_response.body)
    assert (RESOURCE_EXHAUSTED, 429, "17") == (answer.status.code, answer.denied_response.status.code, headers["retry-after"])
    assert ("application/problem+json", 429, "Too Many Requests") == (
        headers["content-type"],
        problem["status"],
        problem["title"],
    )


def test_a_would_be_deny_passes_and_changes_nothing_of_the_request() -> None:
    answer = parsed(deny(mode=Mode.DRY_RUN))
    assert answer.ok_response.ByteSize() == 0
    assert metadata(deny(mode=Mode.DRY_RUN))["reason"] == "range"


@given(
    st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}"),
    st.floats(min_value=5e-324, max_value=1.0),
    st.text(st.characters(codec="utf-8"), max_size=300),
)
@settings(max_examples=100, deadline=None)
def test_any_decision_id_p_value_and_endpoint_come_through(decision_id: str, p_value: float, endpoint: str) -> None:
    fields = metadata(verdict(decision_id=decision_id, p_value=p_value, endpoint=endpoint))
    assert (fields["decision_id"], fields["p_value"], fields["endpoint"]) == (decision_id, p_value, endpoint)


@pytest.mark.parametrize("decision_id", ["", "short", ID + "0"])
def test_a_decision_id_of_another_length_is_our_mistake(decision_id: str) -> None:
    with pytest.raises(ValueError, match="32 characters"):
        to_response(verdict(decision_id=decision_id))
