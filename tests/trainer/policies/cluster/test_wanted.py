"""What the files want, with every problem at once."""

from pathlib import Path

import pytest

from authz_server.engine.errors import PolicyError
from tests.trainer.policies.cluster.pushed import policy
from trainer.policies.cluster.wanted import read_wanted
from trainer.policies.document import to_text


def test_policies_come_in_order_whatever_their_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(to_text([policy("z"), policy("b", namespace="bank")]))
    (tmp_path / "b.yaml").write_text(to_text([policy("a")]))
    (tmp_path / "enforcement.yaml").write_text("version: 1\n")
    assert [policy("b", namespace="bank"), policy("a"), policy("z")] == read_wanted(tmp_path)


def test_a_place_without_policies_is_not_taken_for_the_wish_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="expected AuthorizationPolicies, got none"):
        read_wanted(tmp_path)


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    nameless = policy("nameless")
    del nameless["metadata"]["namespace"]
    (tmp_path / "a.yaml").write_text(to_text([policy(), nameless]))
    (tmp_path / "b.yaml").write_text(to_text([policy(), policy("deny", action="PERMIT")]))
    with pytest.raises(PolicyError) as caught:
        read_wanted(tmp_path)
    found = "\n".join(caught.value.problems)
    assert "a.yaml, document 2 (AuthorizationPolicy nameless): metadata.namespace: expected the namespace, got none" in found
    assert "b.yaml (AuthorizationPolicy shop/cart): expected each policy once, shop/cart is in" in found
    assert "b.yaml, document 2 (AuthorizationPolicy shop/deny): spec.action: expected one of" in found
