"""The model as it lies in the bundle."""

import msgspec
import pytest

from authz_server.engine.calibration import Calibration
from authz_server.engine.call import BodyKind, Flag, Kind
from authz_server.engine.edges import EdgeModel, Edges
from authz_server.engine.errors import BundleError
from authz_server.engine.model import SCHEMA_VERSION, ReadyModel, WorkloadModel, decode_model, encode_model
from authz_server.engine.observe import bounded_name
from authz_server.engine.sequence import START, PrecedenceRule, SequenceModel, Transition
from tests.factories_engine import endpoint_profile, model, parameter_profile, word_profile


def full_model() -> WorkloadModel:
    return model(
        {
            "POST /cart/{*}": endpoint_profile(
                parameters={"path:1": parameter_profile(), "body:/note": word_profile(values=frozenset({"0a", "0b"}))},
                required={"body:/note": 2.5},
                bodies=frozenset({BodyKind.JSON, BodyKind.NONE}),
                flags=frozenset({Flag.DOUBLE_SLASH}),
            ),
            "GET /": endpoint_profile(combinations=None),
        },
        sequence=SequenceModel(
            60.0,
            {"GET /": (PrecedenceRule("POST /cart/{*}", 3.0, 40, "GET /"),)},
            {START: Transition(9, {"GET /": 9}, 1.5)},
        ),
        calibration={"": Calibration(99, 2, (1.0, 2.5), (1, 0), 1.0, 0.25, 30), "GET /": Calibration()},
        edges=EdgeModel(9, {"": 4, "cluster.local/ns/a/sa/b": 5}, 2.0, {"GET /": Edges(9, {"": 9}, 1.0)}),
    )


def test_encode_then_decode_is_identity() -> None:
    assert decode_model(encode_model(full_model())) == full_model()


def test_the_same_model_gives_the_same_bytes() -> None:
    kinds = [Kind.WORD, Kind.UUID, Kind.HEX, Kind.DATE]
    one = model(
        {"GET /a": endpoint_profile(parameters={"query:a": word_profile(kinds=frozenset(kinds))}), "GET /b": endpoint_profile()}
    )
    other = model(
        {
            "GET /b": endpoint_profile(),
            "GET /a": endpoint_profile(parameters={"query:a": word_profile(kinds=frozenset(reversed(kinds)))}),
        }
    )
    assert encode_model(one) == encode_model(other)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `workload`"),
        (b'{"workload": 7}', "Expected `str`"),
        (b"\x80\x04K\x07.", "malformed"),
    ],
)
def test_what_is_no_model_is_refused_and_said_why(data: bytes, expected: str) -> None:
    with pytest.raises(BundleError, match=expected):
        decode_model(data)


def test_a_field_of_another_type_is_refused() -> None:
    raw = msgspec.json.decode(encode_model(full_model()))
    raw["calibration"][""]["scores"] = "1.0"
    with pytest.raises(BundleError, match="calibration"):
        decode_model(msgspec.json.encode(raw))


def test_ready_model_knows_its_path_parameters() -> None:
    ready = ReadyModel(full_model(), "r-1")
    assert ready.positions == {"POST /cart/{*}": (1,), "GET /": ()}
    assert ready.revision == "r-1"


def test_a_profile_is_made_ready_once() -> None:
    ready = ReadyModel(full_model(), "r-1")
    (endpoint, *_) = ready.positions
    assert ready.profiles == {}
    assert ready.profile(endpoint) is ready.profiles[endpoint]


def test_a_schema_version_stands_for_one_way_to_name_parameters() -> None:
    names = ("x-amz-content-sha256", "address[line1]", "items[0][id]", "Ic6MTDqbZPxWpLIavdRDWx", "page2", "a b7")
    expected = ("x-amz-content-sha256", "address[line1]", "items[0][id]", "Ic0MTDqbZPxWpLIavdRDWx", "page2", "a a0")
    assert (3, expected) == (SCHEMA_VERSION, tuple(map(bounded_name, names))), "named differently: raise the schema version"
