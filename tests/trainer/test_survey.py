"""What is known of a workload's callers before its profiles are learned."""

import numpy as np
import pytest

from authz_server.engine.record import CallRecord
from tests.factories_engine import NOON, record
from tests.factories_trainer import to_batch
from trainer.support import SERVICE_WINDOWS
from trainer.survey import Survey

MESH = ("shop/shop", "shop/mail")
OTHERS = [record("GET", "/items", ts=NOON + number, session=f"person {number}", source="") for number in range(200)]


def one_caller(principal: str) -> list[CallRecord]:
    return [record("GET", "/report", ts=NOON + n, session="one", source=principal) for n in range(SERVICE_WINDOWS)]


@pytest.mark.parametrize("in_batches", [False, True])
@pytest.mark.parametrize(
    ("principal", "teaches"),
    [
        ("spiffe://cluster.local/ns/shop/sa/mail", True),
        ("spiffe://cluster.local/ns/partners/sa/client-7", False),
        ("", False),
    ],
)
def test_a_workload_of_the_mesh_speaks_for_itself_and_a_client_with_a_certificate_does_not(
    principal: str, teaches: bool, in_batches: bool
) -> None:
    survey, theirs = Survey(MESH), one_caller(principal)
    for number, made in enumerate([*OTHERS, *theirs]):
        if in_batches:
            survey.learn(to_batch([made]), np.array([number % 32]))
        else:
            survey.update(made, number % 32)

    assert ({theirs[0].session} if teaches else set()) == survey.callers.finish().heavy
