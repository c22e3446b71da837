"""The shop of `tests/trainer/test_train.py` with more to describe: nested bodies, credentials, outcomes; learned once."""

import random
from functools import cache
from typing import Any

from authz_server.engine.record import CallRecord
from tests.factories_engine import JSON, NOON, OBSERVER, record
from tests.trainer.test_train import traffic
from trainer.openapi.document import to_document
from trainer.openapi.words import names_of, to_vocabulary
from trainer.train import Learned, learn_calls

__all__ = ["document", "learned"]

_USER = "0b6e7c1a-5f7d-4c1e-9d53-{:012d}"
_BEARER = {"authorization": "Bearer abcdefghijklmnop"}


def _order(rng: random.Random) -> dict[str, Any]:
    items = ",".join(f'{{"sku":"sku-{rng.randrange(100, 999)}","qty":{rng.randrange(1, 9)}}}' for _ in range(rng.randrange(1, 4)))
    gift = ',"gift":{"wrap":"red","note":"dear you"}' if rng.random() < 0.3 else ""
    currency = rng.choice(["EUR", "USD"])
    body = f'{{"items":[{items}],"currency":"{currency}","when":"2026-01-{rng.randrange(10, 28)}"{gift}}}'.encode()
    target = f"/users/{_USER.format(rng.randrange(10**9))}/orders"
    return {"method": "POST", "target": target, "headers": {**JSON, **_BEARER}, "body": body, "body_size": len(body)}


def _others(count: int, start: float) -> list[CallRecord]:
    rng = random.Random(7)
    made = []
    for n in range(count):
        who: dict[str, Any] = {"session": f"o{n % 97}", "address": f"a{n % 97}", "ts": start + n * 7.0, "record_id": f"o-{n}"}
        status, size = rng.choice([(201, 40), (201, 44), (201, 48), (409, 12)])
        made.append(record(**_order(rng), **who, status=status, resp_size=size, duration_ms=rng.uniform(5, 50)))
        headers = {"cookie": f"sessionid={rng.getrandbits(64):016x}; theme={rng.choice(['dark', 'light'])}"}
        odd = rng.choice(["/a_b/{}", "/v1/{}"]).format(rng.randrange(1, 500))
        made.append(record("GET", f"{odd}?sort={rng.choice(['asc', 'desc'])}&f%5B0%5D=zyx{n % 3}", headers=headers, **who))
        made.append(
            record("POST", "/shop.Cart/Add", headers={"content-type": "application/grpc"}, body=b"\0\0\0\0\2\x08\1", **who)
        )
        made.append(record("PROPFIND", "/dav", **who))
    return made


@cache
def learned() -> Learned:
    calls = sorted([*traffic(1, 250), *_others(400, NOON)], key=lambda made: made.ts)
    (one,) = learn_calls(lambda: calls)
    return one


@cache
def document() -> dict[str, Any]:
    model, description, _ = learned()
    return to_document(model, description, "r-1", to_vocabulary(OBSERVER, names_of([model])))
