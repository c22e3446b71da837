"""A description as it lies in the bundle."""

import pytest

from authz_server.engine.call import BodyKind
from authz_server.engine.errors import BundleError
from trainer.description import (
    Description,
    EndpointFacts,
    ParameterFacts,
    ResponseFacts,
    Spread,
    decode_description,
    encode_description,
)

FACTS = EndpointFacts(
    8,
    7,
    1.5,
    9.0,
    {"200": ResponseFacts(7, Spread(7, 0.0, 3.0, 6.0, 6.0)), "": ResponseFacts(1)},
    {"query:page": ParameterFacts(7, 9, 1.5, 9.0)},
    {BodyKind.JSON: 7},
    Spread(7, 2.0, 2.0, 2.0, 2.0),
    {"": 7},
    {"bearer": 7},
    {"8080": 7},
)


def test_what_was_written_is_read() -> None:
    description = Description("shop/cart", {"POST /cart": FACTS}, 3)
    assert description == decode_description(encode_description(description))


def test_a_damaged_one_is_refused() -> None:
    with pytest.raises(BundleError, match="endpoints"):
        decode_description(b'{"workload":"w","endpoints":1,"unmatched":0}')
