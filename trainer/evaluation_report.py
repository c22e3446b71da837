"""An Evaluation for people (a table) and for programs (JSON)."""

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainer.evaluate import FEW, Evaluation, Rate

__all__ = ["to_json", "to_text"]


def to_json(evaluation: Evaluation) -> str:
    """Write as indented JSON; rates are shares in [0, 1]."""
    return msgspec.json.format(msgspec.json.encode(evaluation), indent=2).decode()


def to_text(evaluation: Evaluation, width: int = 100) -> str:
    """Write as a table of at most `width` columns, rates in percent with their 95 % intervals."""
    table = Table(
        title=f"bundle {evaluation.revision or 'none'} at budget {evaluation.budget:g}", title_justify="left", box=SIMPLE
    )
    for name in ("", "denied", "of", "rate", "95 % interval"):
        table.add_column(name, justify="left" if not name else "right")
    rows = {
        "attacks": evaluation.true_positives,
        **{f"  {name}": rate for name, rate in evaluation.attacks.items()},
        "benign": evaluation.false_positives,
        "  distinct ones": evaluation.distinct_false_positives,
    }
    for name, rate in rows.items():
        table.add_row(escape(name), f"{rate.hits:,}", f"{rate.n:,}{'*' if rate.few else ''}", *_percent(rate))
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
        if any(rate.few for rate in rows.values()):
            console.print(f"* fewer than {FEW} calls: look at the interval, the rate may be anywhere in it", highlight=False)
        auc = "not defined without both kinds" if evaluation.auc is None else f"{evaluation.auc:.5f}"
        console.print(f"area under the curve: {auc}")
        for reason, count in list(evaluation.reasons.items())[:12]:
            console.print(f"  {count:>7,} {reason}", highlight=False)
        if evaluation.no_model:
            console.print(f"{evaluation.no_model:,} calls of workloads without a model were allowed")
    return captured.get().rstrip()


def _percent(rate: Rate) -> tuple[str, str]:
    if rate.rate is None:
        return "-", "-"
    return f"{rate.rate:.3%}", f"{rate.low:.3%} to {rate.high:.3%}"
