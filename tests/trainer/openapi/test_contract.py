"""What anybody's document says, in one form."""

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.openapi.contract import Contract, Field, to_contract


def contract(text: str) -> Contract:
    return to_contract(yaml.safe_load(text))


OPENAPI = """
openapi: 3.0.3
info: {title: shop}
servers: [{url: 'https://shop.example/api/'}]
security: [{key: []}]
paths:
  /items/{id}.json:
    parameters: [{$ref: '#/components/parameters/Id'}]
    get:
      security: []
      parameters:
      - {name: X-Tenant, in: header, schema: {type: string}}
      - {name: Accept, in: header, schema: {type: string}}
      responses: {200: {description: ok}, default: {description: odd}}
    put:
      deprecated: true
      requestBody:
        content:
          application/json:
            schema:
              allOf:
              - $ref: '#/components/schemas/Item'
              - {type: object, required: [price], properties: {price: {type: number, minimum: 0}}}
          application/x-www-form-urlencoded:
            schema: {type: object, required: [name], properties: {name: {type: string, enum: [a, b]}}}
      responses: {200: {description: ok}}
components:
  parameters: {Id: {name: id, in: path, required: true, schema: {type: integer}}}
  schemas:
    Item:
      type: object
      properties:
        tags: {type: array, items: {type: string, nullable: true}}
        prices: {type: object, additionalProperties: {type: number}}
        meta: {type: object}
        kind: {oneOf: [{type: string}, {type: integer}]}
        a/b: {type: boolean}
"""


def test_openapi_is_read() -> None:
    found = contract(OPENAPI)
    assert (found.title, found.prefixes, found.notes) == ("shop", ("/api",), ())
    get, put = found.endpoints["GET /items/{*}"], found.endpoints["PUT /items/{*}"]
    assert get.fields == {
        "path:1": Field(frozenset({"integer"}), required=True),
        "header:x-tenant": Field(frozenset({"string"})),
    }
    assert (get.credentials, put.credentials) == (frozenset(), frozenset({frozenset({"key"})}))
    assert (get.responses, put.deprecated) == ({"200": 0, "default": 0}, True)
    fields = {key: (set(field.types), field.required) for key, field in put.fields.items() if key.startswith("body:")}
    assert fields == {
        "body:": ({"object"}, True),
        "body:/tags": ({"array"}, False),
        "body:/tags/*": ({"string", "null"}, False),
        "body:/prices": ({"object"}, False),
        "body:/prices/{*}": ({"number"}, False),
        "body:/meta": ({"object"}, False),
        "body:/kind": ({"string", "integer"}, False),
        "body:/a~1b": ({"boolean"}, False),
        "body:/price": ({"number"}, True),
        "body:name": ({"string"}, True),
    }
    assert put.fields["body:/meta"].is_open
    assert put.fields["body:/price"].minimum == 0
    assert put.fields["body:name"].enum == frozenset({"a", "b"})


SWAGGER = """
swagger: '2.0'
basePath: /v1
consumes: [application/json]
paths:
  /a/{x}:
    post:
      parameters:
      - {name: x, in: path, type: string, format: uuid, required: true}
      - {name: q, in: query, type: integer, maximum: 9}
      - {name: f, in: formData, type: string}
      - {name: body, in: body, schema: {$ref: '#/definitions/A'}}
definitions:
  A: {type: object, properties: {n: {type: integer}, self: {$ref: '#/definitions/A'}}}
"""


def test_swagger_is_read_and_recursion_ends() -> None:
    found = contract(SWAGGER)
    fields = found.endpoints["POST /a/{*}"].fields
    assert found.prefixes == ("/v1",)
    assert (fields["path:1"].format, fields["query:q"].maximum) == ("uuid", 9)
    assert {"body:f", "body:/n", "body:/self/self/n"} <= fields.keys()
    assert any("without end" in note for note in found.notes)


@pytest.mark.parametrize("reference", ["other.yaml#/A", "https://x/y", "#/nowhere", "#/a"])
def test_references_that_lead_elsewhere_are_noted_and_never_followed(reference: str) -> None:
    document = {"a": {"$ref": "#/a"}, "paths": {"/x": {"get": {"parameters": [{"$ref": reference}]}}}}
    found = to_contract(document)
    assert found.endpoints["GET /x"].fields == {}
    assert [reference in note for note in found.notes] == [True]


WORDS = (
    "paths /x get parameters requestBody content application/json schema $ref properties items required allOf oneOf type enum"
    " responses security servers info in name x-meshwarden additionalProperties"
).split()
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just("#/paths")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from("paths swagger openapi servers security info components".split()), JUNK))
def test_any_document_has_a_contract(document: dict[str, Any]) -> None:
    to_contract(document)
