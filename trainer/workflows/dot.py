"""A workload's graph in Graphviz' language: one digraph, edges as thick as they are frequent, dashed what follows in the mesh."""

from math import log10

from authz_server.engine.sequence import START
from trainer.workflows.graph import Graph

__all__ = ["to_dot"]


def to_dot(graph: Graph) -> str:
    """Write one digraph; rules are in the tooltips of the endpoints that they guard."""
    rules: dict[str, list[str]] = {}
    for rule in graph.rules:
        rules.setdefault(rule.endpoint, []).append(rule.text)
    names = sorted({end for step in graph.steps for end in (step.before, step.after)} | set(rules))
    lines = [f"digraph {_quoted(graph.workload)} {{", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for name in names:
        tip = f", tooltip={_quoted('; '.join(rules[name]))}" if name in rules else ""
        shape = ', shape=circle, label="begin"' if name == START else ""
        lines.append(f"  {_quoted(name)} [penwidth={2 if name in rules else 1}{shape}{tip}];")
    for step in graph.steps:
        width = round(1 + log10(max(1, step.calls)), 1)
        lines.append(f'  {_quoted(step.before)} -> {_quoted(step.after)} [label="{step.calls}", penwidth={width}];')
    for sequel in graph.sequels:
        target = f"{sequel.follows} at {sequel.workload}"
        label = " ".join(part for part in (sequel.outcome, f"with {sequel.given}" if sequel.given else "") if part)
        lines.append(f"  {_quoted(sequel.endpoint)} -> {_quoted(target)} [style=dashed, label={_quoted(label)}];")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    r"""Write an identifier: quotes escaped, backslashes doubled (`\n` would be a new line in a label), the rest as it is.

    >>> _quoted('a"b')
    '"a\\"b"'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join([char if char.isprintable() else " " for char in escaped]) + '"'
