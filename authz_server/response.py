"""From a Verdict to the bytes of a CheckResponse.

Every answer carries dynamic metadata (namespace `envoy.filters.http.ext_authz`), so that access logs can print decision id,
verdict, mode, p-value, endpoint, revision and reason. An answer that lets the call pass is put together from bytes built once
for all calls alike: serialised protobuf messages concatenate to their merge (protobuf encoding, "Last One Wins"), and only the
decision id and the p-value differ, at fixed length.
"""

import struct
from functools import lru_cache
from typing import Final

import msgspec
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, DeniedHttpResponse, OkHttpResponse
from google.protobuf.struct_pb2 import Struct, Value
from google.rpc.code_pb2 import PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE
from google.rpc.status_pb2 import Status

from authz_server.engine.verdict import Basis, Verdict

__all__ = ["DECISION_ID_HEADER", "DECISION_ID_LENGTH", "to_response"]

DECISION_ID_HEADER: Final = "x-authz-decision-id"
DECISION_ID_LENGTH: Final = 32
_PLACEHOLDER: Final = "0" * DECISION_ID_LENGTH
_pack_double = struct.Struct("<d").pack
_METADATA_TAG: Final = bytes([CheckResponse.DYNAMIC_METADATA_FIELD_NUMBER << 3 | 2])


def to_response(verdict: Verdict) -> bytes:
    """Answer Envoy: cheap for a call that passes, several times dearer for one that is refused."""
    if len(verdict.decision_id) != DECISION_ID_LENGTH:
        raise ValueError(f"expected a decision id of {DECISION_ID_LENGTH} characters, got {verdict.decision_id!r}")
    # The enumerations' members are texts themselves; to ask for the `value` of three costs a microsecond.
    constant, before_id, before_p = _metadata(verdict.action, verdict.mode, verdict.endpoint, verdict.revision, verdict.reason)
    answer = _refusal(verdict) if verdict.refused else constant
    return b"".join((answer, before_id, verdict.decision_id.encode(), before_p, _pack_double(verdict.p_value)))


_OK: Final = CheckResponse(status=Status(code=0), ok_response=OkHttpResponse()).SerializeToString()


@lru_cache(maxsize=4096)
def _metadata(action: str, mode: str, endpoint: str, revision: str, reason: str) -> tuple[bytes, bytes, bytes]:
    """Build the parts alike for many calls: the OK answer; the metadata up to the decision id; from there up to the p-value."""
    texts = {"verdict": action, "mode": mode, "endpoint": endpoint, "revision": revision, "reason": reason}
    fields = {name: Value(string_value=str(text)) for name, text in texts.items()}
    same = Struct(fields=fields).SerializeToString(deterministic=True)
    id_part = Struct(fields={"decision_id": Value(string_value=_PLACEHOLDER)}).SerializeToString()
    p_part = Struct(fields={"p_value": Value(number_value=0.5)}).SerializeToString()
    head, placeholder, tail = id_part.partition(_PLACEHOLDER.encode())
    assert placeholder and p_part.endswith(_pack_double(0.5)), "protobuf writes strings and doubles last in an entry"  # noqa: PT018
    length = _varint(len(same) + len(id_part) + len(p_part))
    return _OK, b"".join((_METADATA_TAG, length, same, head)), tail + p_part[:-8]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_REFUSED: Final = (403, "Forbidden", "The request was refused.", PERMISSION_DENIED)
_TOO_FAST: Final = (429, "Too Many Requests", "Too many requests; please come back later.", RESOURCE_EXHAUSTED)
_FAILED: Final = (503, "Service Unavailable", "The request could not be checked.", UNAVAILABLE)


def _refusal(verdict: Verdict) -> bytes:
    """Refuse with RFC 9457 problem details that carry the decision id and nothing an attacker can use.

    403 for a judged call; 429 with `retry-after` (RFC 6585, 4) where only its caller's pace is odd; 503 where we couldn't judge
    and policy doesn't let calls pass then, since it isn't the client's fault. A gRPC caller sees what Envoy makes of these:
    PERMISSION_DENIED for 403 and UNAVAILABLE for 429 and 503 (gRPC's mapping of HTTP statuses), whatever code the answer has.
    """
    code, title, detail, grpc_code = _REFUSED
    if verdict.basis is Basis.ERROR:
        code, title, detail, grpc_code = _FAILED
    elif verdict.retry_after:
        code, title, detail, grpc_code = _TOO_FAST
    problem = {
        "type": "about:blank",
        "title": title,
        "status": code,
        "detail": detail,
        "instance": f"urn:uuid:{_to_uuid(verdict.decision_id)}",
        "decision_id": verdict.decision_id,
    }
    headers = {"content-type": "application/problem+json", "cache-control": "no-store", DECISION_ID_HEADER: verdict.decision_id}
    if verdict.retry_after:
        headers["retry-after"] = str(verdict.retry_after)
    denied = DeniedHttpResponse(
        headers=[HeaderValueOption(header=HeaderValue(key=key, value=value)) for key, value in headers.items()],
        body=msgspec.json.encode(problem).decode(),
    )
    denied.status.code = code
    refusal: bytes = CheckResponse(status=Status(code=grpc_code), denied_response=denied).SerializeToString()
    return refusal


def _to_uuid(decision_id: str) -> str:
    return "-".join((decision_id[:8], decision_id[8:12], decision_id[12:16], decision_id[16:20], decision_id[20:]))
