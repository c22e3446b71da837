"""A document that a validator accepts and a person would sign."""

import copy
import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from authz_server.engine.call import BodyKind
from authz_server.engine.finding import FindingCode
from authz_server.engine.model import ReadyModel
from authz_server.engine.pointer import to_pointer
from authz_server.engine.record import to_parsed_call
from authz_server.engine.verdict import to_finding
from tests.factories_engine import JSON, endpoint_profile, judge, model, parameter_profile, record
from tests.trainer.openapi.shop import document, learned
from trainer.openapi.document import to_document
from trainer.openapi.form import Form
from trainer.openapi.text import to_text

DATA = Path(__file__).parents[4] / "shared" / "data"


def validate(made: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(copy.deepcopy(made)).validate()


def resolve(made: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        made = made[part.replace("~1", "/").replace("~0", "~")]
    return made


def operation(endpoint: str) -> Any:
    return resolve(document(), to_pointer(endpoint, "", ""))


ORDER = "POST /users/{*}/orders"


def test_the_validator_accepts_it() -> None:
    validate(document())


def test_every_pointer_that_a_finding_on_a_learned_endpoint_can_have_resolves() -> None:
    known = learned().model
    for endpoint, profile in known.endpoints.items():
        assert resolve(document(), to_pointer(endpoint, "", ""))
        for key in [*profile.parameters, *known.shared.parameters, *profile.required]:
            assert isinstance(resolve(document(), to_pointer(endpoint, *key.split(":", 1))), dict), key


def test_findings_of_odd_calls_point_to_what_they_are_about() -> None:
    ready = ReadyModel(learned().model, "")
    headers = {**JSON, "authorization": "Bearer \x01", "x-new": "1"}
    odd = record(
        "POST", "/users/nobody'/orders?debug=1", headers=headers, body=b'{"items":[{"sku":"<","qty":-1}],"evil":{"a":1}}'
    )
    judgement = judge(to_parsed_call(odd), ready)
    found = [to_finding(surprise, judgement.endpoint) for surprise in judgement.surprises]
    assert {finding.code for finding in found} >= {
        FindingCode.RANGE,
        FindingCode.UNKNOWN_PARAMETER,
        FindingCode.MISSING_PARAMETER,
    }
    for finding in found:
        there = resolve(document(), finding.pointer)
        assert there["name" if finding.location == "path" else "x-meshwarden"]
    (ranged,) = [finding for finding in found if finding.code is FindingCode.RANGE]
    assert resolve(document(), ranged.pointer)["maximum"] == 8


def test_paths_have_named_parameters_and_keep_the_template() -> None:
    paths = document()["paths"]
    assert paths["/users/{userId}/orders"]["x-meshwarden-template"] == "/users/{*}/orders"
    assert "/v1/{id}" in paths
    assert "x-propfind" in paths["/dav"]
    (parameter,) = [one for one in operation(ORDER)["parameters"] if ".path." in one["$ref"]]
    assert resolve(document(), parameter["$ref"][1:])["schema"] == {"type": "string", "format": "uuid"}


def test_the_body_is_rebuilt() -> None:
    body = operation(ORDER)["requestBody"]
    assert body["required"]
    schema = resolve(document(), body["content"]["application/json"]["schema"]["$ref"][1:])
    assert schema["required"] == ["currency", "items", "when"]
    properties = schema["properties"]
    assert properties["currency"]["enum"] == ["EUR", "USD"]
    assert properties["when"]["format"] == "date"
    assert properties["gift"]["required"] == ["note", "wrap"]
    item = properties["items"]["items"]
    assert (properties["items"]["type"], item["type"], item["required"]) == ("array", "object", ["qty", "sku"])
    assert (item["properties"]["qty"]["minimum"], item["properties"]["qty"]["maximum"]) == (1, 8)
    assert item["properties"]["sku"]["pattern"] == "^[a-z]+-[0-9]+$"


def test_responses_say_how_calls_ended() -> None:
    responses = operation(ORDER)["responses"]
    assert list(responses) == ["201", "409", "default"]
    assert responses["201"]["description"] == "Created"
    facts = responses["201"]["x-meshwarden"]
    assert facts["calls"] + responses["409"]["x-meshwarden"]["calls"] == 400
    assert (facts["bytes"]["low"], facts["bytes"]["high"]) == (40, 48)
    assert 5 <= facts["milliseconds"]["p50"] <= facts["milliseconds"]["p99"] <= 50


def test_credentials_become_security_schemes() -> None:
    schemes = document()["components"]["securitySchemes"]
    assert schemes["header.authorization"]["scheme"] == "bearer"
    assert (schemes["cookie.sessionid"]["type"], schemes["cookie.sessionid"]["in"]) == ("apiKey", "cookie")
    assert operation(ORDER)["security"] == [{"header.authorization": [], "mutualTLS": []}]
    assert operation("POST /cart")["security"] == [{"mutualTLS": []}]


def test_counts_times_and_progress_stand_beside_what_they_are_about() -> None:
    facts = operation("POST /cart")["x-meshwarden"]
    assert facts["calls"] == learned().description.endpoints["POST /cart"].calls
    assert facts["firstSeen"] < facts["lastSeen"]
    assert facts["progress"] > 0.9
    assert facts["callers"] == {"cluster.local/ns/shop/sa/web": facts["calls"]}


def test_grpc_methods_say_so() -> None:
    assert operation("POST /shop.Cart/Add")["x-grpc"] == {"service": "shop.Cart", "method": "Add"}


def test_secrets_are_passwords_without_a_pattern() -> None:
    schema = document()["components"]["schemas"]["fields.post.login"]["properties"]["password"]
    assert (schema["format"], "pattern" in schema, "enum" in schema) == ("password", False, False)


def test_without_a_description_there_is_a_document_too() -> None:
    made = to_document(learned().model, None, "", {})
    validate(made)
    assert made["paths"].keys() == document()["paths"].keys()


def test_without_the_hash_key_enumerations_have_a_size_and_no_names() -> None:
    made = to_document(learned().model, learned().description, "", {})
    theme = made["components"]["parameters"]["cookie.theme"]["schema"]
    assert (theme["x-enum-size"], "enum" in theme) == (2, False)


def test_the_same_model_gives_the_same_bytes() -> None:
    model_, description, _ = learned()
    again = to_document(model_, description, "r-1", {})
    assert to_text(again, Form.YAML) == to_text(to_document(model_, description, "r-1", {}), Form.YAML)


ODD_NAMES = ["a b", "", "/", "~", "{*}", "*", "a.b", "ä", "x" * 64, "$ref", "items"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("location", ["query", "body", "header", "cookie"])
def test_odd_names_are_valid_and_pointed_to(location: str, name: str) -> None:
    key = f"{location}:{name}"
    own = {key: parameter_profile()} if location in ("query", "body") else {}
    endpoints = {"POST /x": endpoint_profile(parameters=own, bodies=frozenset({BodyKind.JSON, BodyKind.FORM}))}
    made = to_document(
        model(endpoints, shared=endpoint_profile(parameters={} if own else {key: parameter_profile()})), None, "", {}
    )
    validate(made)
    assert resolve(made, to_pointer("POST /x", location, name))


@pytest.mark.parametrize("name", ["csic2010", "atrdf1"])
def test_documents_of_public_data_are_valid(name: str, tmp_path: Path) -> None:
    source = DATA / f"{name}.jsonl.gz"
    if not source.exists():
        pytest.skip(f"{source} isn't here")
    from authz_server.engine.observe import Observer
    from trainer.imports import Format, import_files
    from trainer.store import read_calls
    from trainer.train import learn_calls

    sample = tmp_path / "calls.jsonl"
    with gzip.open(source) as file:
        rows = [line for line in file if (row := msgspec.json.decode(line)).get("split") != "test" and row.get("label") != 1]
    sample.write_bytes(b"".join(rows[:: max(1, len(rows) // 3000)]))
    import_files([str(sample)], Format.CALLS, str(tmp_path / "store"), Observer())
    for model_, description, _ in learn_calls(lambda: read_calls(str(tmp_path / "store"))):
        made = to_document(model_, description, "r-1", {})
        validate(made)
        for endpoint, profile in model_.endpoints.items():
            for key in [*profile.parameters, *model_.shared.parameters]:
                assert resolve(made, to_pointer(endpoint, *key.split(":", 1))) is not None
