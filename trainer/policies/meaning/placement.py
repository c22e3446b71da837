"""Which policies apply to a workload: its namespace and its pods' labels against policies' own.

In: policies and a workload, `namespace/service-account`. Out: those that apply, and those of which it can't be told. Labels
aren't recorded: a workload's are those of `selectors` in exceptions.yaml, else `app` with its name, as `generate` assumes.
"""

from collections.abc import Mapping, Sequence

import msgspec

from trainer.policies.policy import AuthorizationPolicy

__all__ = ["Placement", "place"]


class Placement(msgspec.Struct, frozen=True):
    """The policies that apply to a workload, and those that might."""

    sure: tuple[AuthorizationPolicy, ...]
    unsure: tuple[AuthorizationPolicy, ...]


def place(
    policies: Sequence[AuthorizationPolicy],
    workload: str,
    selectors: Mapping[str, Mapping[str, str]],
    root_namespace: str,
) -> Placement:
    """Find a workload's policies; those of the root namespace are for every namespace."""
    namespace, _, name = workload.partition("/")
    labels = selectors.get(workload) or {"app": name}
    near = [policy for policy in policies if policy.metadata.namespace in (namespace, root_namespace)]
    told = [(policy, _selects(policy, labels)) for policy in near]
    return Placement(
        tuple([policy for policy, selected in told if selected]),
        tuple([policy for policy, selected in told if selected is None]),
    )


def _selects(policy: AuthorizationPolicy, labels: Mapping[str, str]) -> bool | None:
    """Tell whether pods with these labels, and others that aren't known, are selected."""
    if policy.spec.target_ref is not None or policy.spec.target_refs:
        return None
    wanted = {} if policy.spec.selector is None else policy.spec.selector.match_labels
    if any(key in labels and labels[key] != value for key, value in wanted.items()):
        return False
    return True if wanted.keys() <= labels.keys() else None
