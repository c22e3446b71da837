"""What a replay found, as text for people or as JSON for programs."""

from typing import Any

import msgspec

from trainer.policies.meaning.replay import Replay, Stage

__all__ = ["to_json", "to_text"]

_SHOWN = 40


def to_json(found: Replay) -> str:
    """Write all rows, with the sums that a gate asks for."""
    document: dict[str, Any] = msgspec.to_builtins(found)
    sums = {"clean": found.clean, "broken": found.broken, "undecided_calls": sum(row.calls for row in found.undecided)}
    return msgspec.json.format(msgspec.json.encode({**sums, **document})).decode()


def to_text(found: Replay) -> str:
    """Write the sums, then the rows that have most, each with examples."""
    undecided = sum(row.calls for row in found.undecided)
    refused = found.calls - found.allowed - found.unguarded - undecided
    lines = [
        f"{found.calls:,} calls: {found.allowed:,} allowed, {refused:,} refused, {undecided:,} can't be decided",
        f"{found.unguarded:,} calls are to workloads without a policy",
        f"{found.broken:,} calls that ended well would have been refused",
    ]
    if found.asked:
        lines.append(f"{found.asked:,} calls are asked about at a CUSTOM provider, taken here to let them pass")
    for row in found.refusals[:_SHOWN]:
        when = "refused" if row.stage is Stage.ENFORCED else "refused once promoted"
        by = row.rule or "no ALLOW rule matches"
        counts = {"ended well": row.broken, "in error": row.failed, "end unknown": row.unfinished, "attacks": row.attacks}
        shown = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        lines += [f"{row.workload}: {when}: {by}: caller {row.caller or 'unknown'}: {shown}", *_indented(row.examples)]
    for missing in found.undecided[:_SHOWN]:
        what = ", ".join(missing.missing)
        lines += [
            f"{missing.workload}: undecided for want of {what}: {missing.calls:,} calls, {missing.ended_well:,} ended well",
            *_indented(missing.examples),
        ]
    hidden = max(0, len(found.refusals) - _SHOWN) + max(0, len(found.undecided) - _SHOWN)
    return "\n".join([*lines, *([f"and {hidden:,} rows more: --json has them"] if hidden else [])])


def _indented(examples: list[str]) -> list[str]:
    return [f"    {example}" for example in examples]
