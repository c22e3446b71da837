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
    schema = body_schema(keys, profile, counted, {}, shown, nested=True)
    assert schema["required"] == ["a", "l"]
    assert schema["properties"]["a"]["required"] == ["b"]
    assert schema["properties"]["l"]["items"]["required"] == ["x", "y"]
    assert schema["properties"]["a"]["x"] == ("", 10)
    assert schema["properties"]["m"]["additionalProperties"]["type"] == "integer"


def test_a_place_can_hold_a_value_and_what_is_below() -> None:
    keys = {name: f"body:{name}" for name in ("/a", "/a/b", "", "/*")}
    parameters = {key: parameter_profile(kinds=frozenset({Kind.NULL})) for key in keys.values()}
    schema = body_schema(keys, endpoint_profile(parameters=parameters), {}, {}, shown, nested=True)
    assert schema["type"] == ["array", "null", "object"]
    assert schema["properties"]["a"]["type"] == ["null", "object"]


def test_what_comes_in_one_of_several_kinds_is_required_and_the_kinds_are_not() -> None:
    names = ["/Body/Ask/a", "/Body/Pay/b", "/Body/Pay/c", "/Header/s", "/tags", "/tags/*", "/open"]
    keys = {name: f"body:{name}" for name in names}
    ways = [["/Body/Ask/a", "/tags"], ["/Body/Ask/a", "/tags/*"], ["/Body/Pay/b", "/Body/Pay/c", "/tags/*"]]
    profile = endpoint_profile(
        parameters={key: parameter_profile() for key in keys.values()},
        required={"body:/Header/s": 3.0},
        combinations=frozenset(" ".join(sorted(keys[name] for name in (*way, "/Header/s"))) for way in ways),
    )
    times = {"/Body/Ask/a": 70, "/Header/s": 100, "/tags": 60, "/tags/*": 40}
    counted = {keys[name]: facts(times.get(name, 30), times.get(name, 30)) for name in names}
    schema = body_schema(keys, profile, counted, {}, shown, nested=True)
    assert schema["required"] == ["Body", "Header", "tags"]
    assert "required" not in schema["properties"]["Body"]
    assert schema["properties"]["Body"]["properties"]["Pay"]["required"] == ["b", "c"]
    assert schema["properties"]["tags"]["x"] == ("body:/tags", 100)


def test_texts_of_a_format_without_types_are_typed_by_their_form() -> None:
    profile = endpoint_profile(parameters={"body:/a": parameter_profile(kinds=frozenset({Kind.INTEGER, Kind.HEX}))})
    schemas = [body_schema({"/a": "body:/a"}, profile, {}, {}, shown, nested=True, typed=typed) for typed in (True, False)]
    assert [schema["properties"]["a"]["type"] for schema in schemas] == [["integer", "string"], "string"]


def test_the_commonest_of_many_is_not_required_where_nobody_knows_what_comes_together() -> None:
    keys = {f"/m/{name}": f"body:/m/{name}" for name in "abc"}
    profile = endpoint_profile(parameters={key: parameter_profile() for key in keys.values()}, combinations=None)
    counted = {"body:/m/a": facts(60, 60), "body:/m/b": facts(40, 40), "body:/m/c": facts(30, 30)}
    assert "required" not in body_schema(keys, profile, counted, {}, shown, nested=True)["properties"]["m"]
    several = {name: facts(50 - n, 50 - n) for n, name in enumerate(keys.values())}
    assert "required" not in body_schema(keys, profile, several, {}, shown, nested=True)["properties"]["m"]
    counted["body:/m/b"] = facts(20, 20)
    assert body_schema(keys, profile, counted, {}, shown, nested=True)["properties"]["m"]["required"] == ["a"]


def test_of_several_kinds_of_objects_in_one_place_nothing_is_required() -> None:
    keys = {f"/l/*/{name}": f"body:/l/*/{name}" for name in ("x", "y", "title", "url", "message", "stack")}
    profile = endpoint_profile(parameters={key: parameter_profile() for key in keys.values()}, combinations=None)
    counted = {key: facts(60, 60) if key[-1] in "xy" else facts(40, 40) for key in keys.values()}
    listed = body_schema(keys, profile, counted, {}, shown, nested=True)["properties"]["l"]
    assert "required" not in listed["items"]
    few = {name: key for name, key in keys.items() if name[-1] in "xye"}
    listed = body_schema(few, profile, counted, {}, shown, nested=True)["properties"]["l"]
    assert listed["items"]["required"] == ["x", "y"]


def test_the_only_property_of_bodies_is_required_whatever_it_holds() -> None:
    keys = {f"/spec/{name}": f"body:/spec/{name}" for name in ("replicas", "template")}
    profile = endpoint_profile(
        parameters={key: parameter_profile() for key in keys.values()}, combinations=frozenset(keys.values())
    )
    counted = {key: facts(50, 50) for key in keys.values()}
    schema = body_schema(keys, profile, counted, {}, shown, nested=True)
    assert schema["required"] == ["spec"]
    assert "required" not in schema["properties"]["spec"]
