"""How a Check looks on the wire: the CheckRequest of one call, as Envoy writes it.

Fields, header set and sizes are those that a real Envoy 1.40 sent in the demo's mesh (captured 2026-11: 1.3 to 1.9 KB, of which
the peer's certificate is 0.7). A quick order is the bench's own: the order of a phone app in one call, ten JSON values, no peer
certificate, and by its `note` exactly `QUICK_BYTES` long, the size that DESIGN.md section 5 measures with.
"""

import json
import random
from typing import Final

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from demo.catalogue import price
from demo.people import Person
from demo.plans import SHOP

__all__ = ["GATEWAY", "QUICK_BYTES", "message", "quick_order", "uuid"]

QUICK_BYTES: Final = 875
GATEWAY: Final = "spiffe://demo.local/ns/istio-system/sa/ingressgateway"
_CERTIFICATE: Final = (
    "-----BEGIN%20CERTIFICATE-----%0A" + "MIIBvTCCAWKgAwIBAgIUJaxNEiNQ2k5q" * 20 + "%0A-----END%20CERTIFICATE-----%0A"
)
_WORDS: Final = (
    "please ring twice and leave it with the neighbour on the second floor or behind the green door by the old pear tree thanks"
    " not before noon call me when you are near our bell is broken so knock gift for mum no plastic wrap in paper fragile glass"
).split()


def message(
    method: str,
    target: str,
    host: str,
    body: bytes | None,
    own: dict[str, str],
    source: str,
    workload: str,
    request_id: str,
    now: float,
    rng: random.Random,
    *,
    certificate: bool = True,
) -> bytes:
    """Write a CheckRequest as Envoy does: its own headers and pseudo-headers beside the client's, attributes, times."""
    principal = f"spiffe://demo.local/ns/{workload.replace('/', '/sa/')}"
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.principal = source
    if certificate:
        attributes.source.certificate = _CERTIFICATE
        own = {"x-forwarded-client-cert": f"By={principal};Hash={'bfb47ee4e9708e5d' * 4};URI={source}", **own}
    attributes.source.address.socket_address.address = "127.0.0.1"
    attributes.source.address.socket_address.port_value = rng.randrange(32768, 60999)
    attributes.destination.principal = principal
    attributes.destination.address.socket_address.address = "127.0.0.1"
    attributes.destination.address.socket_address.port_value = 19941
    attributes.request.time.seconds = int(now)
    attributes.request.time.nanos = int(now % 1 * 1e9) // 1000 * 1000
    http = attributes.request.http
    http.id = str(rng.getrandbits(63))
    http.method, http.path, http.host, http.scheme, http.protocol = method, target, host, "http", "HTTP/1.1"
    headers = http.headers
    headers["x-request-id"] = request_id
    headers["x-forwarded-proto"] = "http"
    for name, value in own.items():
        headers[name] = value
    headers["accept-encoding"] = "gzip, deflate"
    headers[":scheme"], headers[":path"], headers[":method"], headers[":authority"] = "http", target, method, host
    if body is not None:
        headers["x-envoy-auth-partial-body"] = "false"
        headers["content-length"] = str(len(body))
        http.size = len(body)
        http.raw_body = body
    return bytes(request.SerializeToString())


def quick_order(who: Person, session: str, now: float, rng: random.Random, **changes: object) -> bytes:
    """Write a quick order of exactly `QUICK_BYTES`; `changes` are to its fields."""
    item, count = rng.randint(1, 120), min(12, 1 + int(rng.expovariate(0.6)))
    headers = {
        "x-forwarded-for": who.address,
        "user-agent": "DemoShop/4.12.0",
        **({"cookie": f"session={session}"} if session else {}),
        "content-type": "application/json",
        "accept": "*/*",
    }
    fields: dict[str, object] = {
        "item": item,
        "count": count,
        "amount": round(price(item) * count, 2),
        "method": rng.choice(("card", "paypal", "invoice")),
        "express": rng.random() < 0.2,
        "ship": {"name": who.home["name"], "city": who.home["city"], "zip": who.home["zip"], "country": who.home["country"]},
    }
    fields |= changes
    request_id, words, length = uuid(rng), " ".join(rng.choices(_WORDS, k=40)), 40
    state = rng.getstate()
    data = b""
    while len(data) != QUICK_BYTES:
        length += QUICK_BYTES - len(data) if data else 0
        if not 0 <= length <= len(words):
            raise ValueError(f"expected fields that leave room for a note, got {fields}")
        rng.setstate(state)
        note = words[:length]
        body = json.dumps({**fields, "note": note}, ensure_ascii=False, separators=(",", ":")).encode()
        data = message(
            "POST", "/orders/quick", SHOP, body, headers, GATEWAY, "shop/shop", request_id, now, rng, certificate=False
        )
    return data


def uuid(rng: random.Random) -> str:
    """Make a random UUID."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
