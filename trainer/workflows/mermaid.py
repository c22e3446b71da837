"""A workload's graph as Mermaid flowcharts in a Markdown document, which GitHub and GitLab draw.

Whatever an attacker could have chosen (paths, principals) stands in quoted labels, escaped as Mermaid's entities.
"""

from collections.abc import Iterable, Sequence

from authz_server.engine.sequence import START
from trainer.workflows.graph import Graph, Journey, Step, to_journeys

__all__ = ["to_mermaid"]


def to_mermaid(graph: Graph) -> str:
    """Write one document: journeys, rules, callers, what follows."""
    lines = [f"# {_plain(graph.workload)}", ""]
    for journey in to_journeys(graph):
        lines += [f"## Sessions that begin with {_plain(journey.begins)} ({journey.sessions:,})", "", *_chart(journey), ""]
    lines += _section("Rules", [f"{rule.text} ({rule.steps:,} steps)" for rule in graph.rules])
    lines += _section(
        "Who calls what", [f"{c.principal or 'without identity'}: {c.endpoint} ({c.calls:,})" for c in graph.callers]
    )
    lines += _section(
        "What follows inside the mesh",
        [
            f"{s.endpoint}{f' ({s.outcome})' if s.outcome else ''}{f' with {s.given}' if s.given else ''}: "
            f"{s.follows} at {s.workload} ({s.calls:,})"
            for s in graph.sequels
        ],
    )
    return "\n".join(lines).rstrip() + "\n"


def _chart(journey: Journey) -> list[str]:
    first = Step(START, journey.begins, journey.sessions, 1.0)
    steps = [first, *journey.steps]
    names = {name: f"n{i}" for i, name in enumerate(sorted({end for step in steps for end in (step.before, step.after)}))}
    lines = ["```mermaid", "flowchart LR"]
    for name, key in names.items():
        lines.append(f'  {key}["{_quoted(name)}"]' if name else f'  {key}(("begin"))')
    for step in steps:
        lines.append(f'  {names[step.before]} -->|"{step.calls:,}"| {names[step.after]}')
    return [*lines, "```"]


def _section(title: str, items: Sequence[str]) -> Iterable[str]:
    return [f"## {title}", "", *(f"- {_plain(item)}" for item in items), ""] if items else []


def _quoted(text: str) -> str:
    """Write what a quoted label of Mermaid can hold: everything else as `#code;`.

    >>> _quoted('GET /a"b')
    'GET /a#34;b'
    """
    return "".join([char if char.isalnum() or char in " /.-_{}*:,()" else f"#{ord(char)};" for char in text])


def _plain(text: str) -> str:
    """Escape what Markdown would read; a path's `*` and `_` among them."""
    return "".join([f"\\{char}" if char in "\\`*_[]<>#|!" else char if char.isprintable() else " " for char in text])
