"""The exceptions file: what it means, and every problem at once."""

from pathlib import Path

import pytest

from authz_server.engine.errors import PolicyError
from trainer.policies.exceptions import Exceptions, Exempt, parse_exceptions, read_exceptions, to_rule
from trainer.policies.policy import From, Operation, Rule, Source, To

SHIPPED = Path(__file__).parents[3] / "policies" / "exceptions.yaml"


def test_every_field_is_read() -> None:
    text = """
version: 1
selectors: {shop/cart: {app: "08"}}
exceptions:
  - {name: a, workloads: [shop/*], namespaces: [ops], methods: [GET], paths: ["/x/{*}"], ports: [8080, "9090"]}
"""
    exempt = Exempt("a", ("shop/*",), (), ("ops",), (), ("GET",), ("/x/{*}",), ("8080", "9090"))
    assert parse_exceptions(text.encode()) == Exceptions((exempt,), {"shop/cart": {"app": "08"}})
    source, operation = Source(namespaces=("ops",)), Operation(methods=("GET",), paths=("/x/{*}",), ports=("8080", "9090"))
    assert to_rule(exempt) == Rule((From(source),), (To(operation),))


@pytest.mark.parametrize(
    ("workloads", "covered"), [((), True), (("shop/cart",), True), (("shop/*",), True), (("shop/car", "other/*"), False)]
)
def test_an_exception_is_for_its_workloads(workloads: tuple[str, ...], covered: bool) -> None:
    assert Exempt("a", workloads).covers("shop/cart") is covered


def test_every_problem_is_told_at_once() -> None:
    text = """
version: 2
selector: {}
selectors: {cart: {}, shop/a: {app: 1}}
exceptions:
  - {name: A B, paths: [/a]}
  - {name: b}
  - {name: c, paths: ["/a/{id}"], methods: [get], unjudged: 1}
  - {name: d, principals: [spiffe://td/ns/a/sa/b], workloads: [cart]}
  - {name: e, paths: [/a], ports: [1], unjudged: true}
  - {name: e, paths: /a}
"""
    with pytest.raises(PolicyError) as caught:
        parse_exceptions(text.encode())
    expected = [
        "selector: unknown key",
        "version: expected 1, got '2'",
        "selectors.cart: expected a workload as namespace/name",
        "selectors.cart: expected at least one label",
        "selectors.shop/a.app: expected a text, got '1'",
        "exceptions[0].name: expected lower-case letters, digits and -, got 'A B'",
        "exceptions[1]: expected at least one of principals",
        "exceptions[2].unjudged: expected true or false",
        "exceptions[2]: to[0].operation.methods[0]: expected a method in upper-case",
        "exceptions[2]: to[0].operation.paths[0]: expected {*} or {**}",
        "exceptions[3].workloads: expected namespace/name",
        "exceptions[3]: from[0].source.principals[0]: expected a principal without spiffe://",
        "exceptions[4]: unjudged: expected either paths or ports",
        "exceptions[5].paths: expected a list of texts",
        "exceptions[5]: expected at least one of",
        "exceptions: expected each name once, got 'e' again",
    ]
    shown = [next((one for one in expected if problem.startswith(one)), problem) for problem in caught.value.problems]
    assert sorted(shown) == sorted(expected)


def test_the_file_that_ships_is_valid() -> None:
    assert [one.name for one in read_exceptions(SHIPPED).exceptions] == ["probes", "scrapers"]
