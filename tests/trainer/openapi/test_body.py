"""A body is rebuilt from the parameters that it was taken apart into."""

from authz_server.engine.call import Kind
from tests.factories_engine import endpoint_profile, parameter_profile
from trainer.description import ParameterFacts
from trainer.openapi.body import body_schema
from trainer.openapi.schema import Schema


def shown(key: str, calls: int) -> Schema:
    return {"x": (key, calls)}


def facts(calls: int, values: int) -> ParameterFacts:
    return ParameterFacts(calls, values, 0.0, 1.0)


def test_a_property_is_required_where_its_siblings_never_come_without_it() -> None:
    names = ["/a/b", "/a/c", "/l/*/x", "/l/*/y", "/l/*/t/*", "/m/{*}", "/o"]
    keys = {name: f"body:{name}" for name in names}
    profile = endpoint_profile(
        parameters={key: parameter_profile() for key in keys.values()},
        required={"body:/a/b": 3.0, "body:/l/*/x": 2.0, "body:/o": 1.1},
    )
    counted = {
        "body:/a/b": facts(10, 10),
        "body:/a/c": facts(9, 9),
        "body:/l/*/x": facts(10, 30),
        "body:/l/*/y": facts(10, 30),
        "body:/l/*/t/*": facts(10, 70),
    }
    schema = body_schema(keys, profile, counted, {}, shown, typed=True)
    assert schema["required"] == ["a", "l"]
    assert schema["properties"]["a"]["required"] == ["b"]
    assert schema["properties"]["l"]["items"]["required"] == ["x", "y"]
    assert schema["properties"]["a"]["x"] == ("", 10)
    assert schema["properties"]["m"]["additionalProperties"]["type"] == "integer"


def test_a_place_can_hold_a_value_and_what_is_below() -> None:
    keys = {name: f"body:{name}" for name in ("/a", "/a/b", "", "/*")}
    parameters = {key: parameter_profile(kinds=frozenset({Kind.NULL})) for key in keys.values()}
    schema = body_schema(keys, endpoint_profile(parameters=parameters), {}, {}, shown, typed=True)
    assert schema["type"] == ["array", "null", "object"]
    assert schema["properties"]["a"]["type"] == ["null", "object"]
