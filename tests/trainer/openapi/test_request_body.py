"""Request bodies are told as they were sent, whatever was read out of them."""

import copy
import random
from functools import cache
from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from authz_server.engine.pointer import to_pointer
from tests.factories_engine import JSON, NOON, OBSERVER, record
from trainer.openapi.against import disagreements
from trainer.openapi.contract import to_contract
from trainer.openapi.document import to_document
from trainer.openapi.words import names_of, to_vocabulary
from trainer.train import Learned, learn_calls

FEED = "query Feed($first: Int!, $tag: String) { feed(first: $first, tag: $tag) { id title } }"
FORM = {"content-type": "multipart/form-data; boundary=b"}
SOAP = {"content-type": "text/xml; charset=utf-8"}


def sent(rng: random.Random) -> list[dict[str, Any]]:
    variables = {"first": rng.choice([10, 20, 50]), "tag": rng.choice(["new", "old"])}
    request = {"query": FEED, "operationName": "Feed", "variables": variables}
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    file = part % (b"file", b'; filename="a.pdf"\r\nContent-Type: application/pdf', b"%PDF-1.4 " + b"x" * rng.randrange(9))
    amount = f"<?xml version='1.0'?><Pay><Code>{rng.randrange(1000):05}</Code></Pay>".encode()
    patch = b'[{"op":"replace","path":"/a","value":%d}]' % rng.randrange(9)
    return [
        {"method": "POST", "target": "/graphql", "headers": JSON, "body": msgspec.json.encode(request)},
        {"method": "GET", "target": "/graphql?query=%7Bviewer%7Bid%7D%7D"},
        {"method": "POST", "target": "/upload", "headers": FORM, "body": file + part % (b"kind", b"", b"new") + b"--b--\r\n"},
        {"method": "POST", "target": "/pay", "headers": SOAP, "body": amount},
        {"method": "PATCH", "target": "/a", "headers": {"content-type": "application/json-patch+json"}, "body": patch},
        {"method": "PUT", "target": "/b", "headers": {"content-type": "image/png"}, "body": b"\x89PNG\r\n\x1a\n"},
    ]


@cache
def learned() -> Learned:
    rng = random.Random(3)
    calls = [
        record(**one, session=f"s{n % 7}", ts=NOON + n * 6.0 + place, record_id=f"{n}-{place}", status=200)
        for n in range(200)
        for place, one in enumerate(sent(rng))
    ]
    (one,) = learn_calls(lambda: calls)
    return one


@cache
def document() -> dict[str, Any]:
    model, description, _ = learned()
    return to_document(model, description, "r-1", to_vocabulary(OBSERVER, names_of([model])))


def resolve(made: Any, pointer: str) -> Any:
    for part in pointer.removeprefix("#").split("/")[1:]:
        made = made[part.replace("~1", "/").replace("~0", "~")]
    return made


def schema(path: str, method: str, media: str) -> Any:
    content = document()["paths"][path][method]["requestBody"]["content"]
    assert list(content) == [media]
    return resolve(document(), content[media]["schema"]["$ref"])


def test_the_validator_accepts_it_and_every_pointer_resolves() -> None:
    OpenAPIV31SpecValidator(copy.deepcopy(document())).validate()
    for endpoint, profile in learned().model.endpoints.items():
        for key in profile.parameters:
            assert isinstance(resolve(document(), to_pointer(endpoint, *key.split(":", 1))), dict), key


def test_a_graphql_request_is_told_as_the_json_that_was_sent() -> None:
    made = schema("/graphql", "post", "application/json")
    assert list(made["properties"]) == ["operationName", "query", "variables"]
    assert made["required"] == ["operationName", "query", "variables"]
    assert made["properties"]["variables"]["properties"]["first"]["enum"] == [10, 20, 50]
    OAS31Validator(made).validate({"query": FEED, "operationName": "Feed", "variables": {"first": 10, "tag": "new"}})
    operation = document()["paths"]["/graphql"]["post"]
    assert "fields/feed/title" in resolve(document(), operation["x-graphql"]["$ref"])["properties"]


def test_a_graphql_request_by_query_has_the_parameters_that_were_sent() -> None:
    parameters = document()["paths"]["/graphql"]["get"]["parameters"]
    assert [one.get("name") for one in parameters] == ["query"]


def test_what_a_graphql_request_by_query_selects_stands_where_its_parameter_says() -> None:
    operation = document()["paths"]["/graphql"]["get"]
    assert "`x-graphql`" in operation["parameters"][0]["schema"]["description"]
    selected = operation["x-graphql"]["properties"]["fields/viewer/id"]["$ref"]
    assert resolve(document(), selected)["type"] == "integer"
    fields = to_contract(document()).endpoints["GET /graphql"].fields
    assert fields["graphql:fields/viewer/id"].required


def test_a_file_in_a_form_is_one_property() -> None:
    made = schema("/upload", "post", "multipart/form-data")
    assert made["required"] == ["file", "kind"]
    assert made["properties"]["kind"]["enum"] == ["new"]
    file = made["properties"]["file"]
    assert (file["type"], file["format"], file["x-meshwarden"]["calls"]) == ("string", "binary", 200)


@pytest.mark.parametrize(
    ("path", "method", "media"),
    [("/pay", "post", "text/xml"), ("/a", "patch", "application/json-patch+json"), ("/b", "put", "image/png")],
)
def test_media_types_are_those_that_were_sent(path: str, method: str, media: str) -> None:
    assert list(document()["paths"][path][method]["requestBody"]["content"]) == [media]


def test_digits_in_xml_are_a_text_where_zeros_stand_before_them() -> None:
    code = schema("/pay", "post", "text/xml")["properties"]["Pay"]["properties"]["Code"]
    assert (code["type"], code["pattern"]) == ("string", "^[0-9]+$")


def test_a_document_of_a_graphql_endpoint_agrees_with_what_was_sent() -> None:
    body = {
        "type": "object",
        "required": ["query"],
        "properties": {"query": {"type": "string"}, "operationName": {"type": "string"}, "variables": {"type": "object"}},
    }
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}, "responses": {"200": {}}}
    theirs = to_contract({"openapi": "3.1.0", "paths": {"/graphql": {"post": operation}}})
    found = [one for one in disagreements(to_contract(document()), theirs) if one.endpoint == "POST /graphql"]
    assert found == []


def test_a_change_of_what_is_selected_is_told_once() -> None:
    fields = to_contract(document()).endpoints["POST /graphql"].fields
    assert "graphql:fields/feed/title" in fields
    assert [name for name in fields if "first" in name] == ["body:/variables/first", "graphql:arguments/feed/first"]
