"""The command line of the mesh's own policy: `python -m trainer policies generate`, and what is done with what it wrote.

In: flags and `TRAINER_*`. Out: files, lines on standard error, and an exit code: 0, 1 (some workload was refused) or 2.

Each command imports the module of its name when it runs.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authz_server.engine.errors import SettingError
from trainer.options import Bundle, Calls, Crds, Json, SomeStore
from trainer.policies.promotion.condition import Condition
from trainer.terminal import say

if TYPE_CHECKING:
    from trainer.policies.cluster.push import Result

__all__ = ["app"]

_REFUSED = 1

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)  # as in `trainer/__main__.py`

_Files = Annotated[
    Path, typer.Option("--policies", envvar="TRAINER_POLICIES", help="Where the policies are: a directory or a file.")
]
_Context = Annotated[
    str | None,
    typer.Option(
        envvar="TRAINER_CONTEXT", help="The kubeconfig's context. Default: its current one, or in a pod its service account."
    ),
]
_Kubeconfig = Annotated[
    Path | None, typer.Option(envvar="TRAINER_KUBECONFIG", help="The kubeconfig. Default: KUBECONFIG, or ~/.kube/config.")
]
_Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", help="Also this namespace, beside those of the files or of the last push; may be repeated."),
]
_Audit = Annotated[
    Path,
    typer.Option(envvar="TRAINER_AUDIT", help="The audit log, one JSON object a line, added to; - for standard output."),
]
_AUDIT = Path("policies-audit.jsonl")
_POLICIES = Path("policies/mesh")


@app.callback()
def _policies() -> None:
    """Turn what was learned into the mesh's own policy: Istio AuthorizationPolicy."""


@app.command()
def generate(
    bundle: Bundle,
    out: Annotated[str, typer.Option(envvar="TRAINER_POLICIES", help="Where policies are written: a directory.")],
    exceptions: Annotated[
        Path | None,
        typer.Option(
            envvar="TRAINER_EXCEPTIONS",
            help="Who stays allowed whatever was learned, and which labels select a workload's pods. Default: nobody, app=NAME.",
        ),
    ] = None,
    custom: Annotated[
        str | None,
        typer.Option(
            envvar="TRAINER_CUSTOM",
            metavar="PROVIDER",
            help="Also write the policy that has this provider judge calls.",
        ),
    ] = None,
    crds: Crds = None,
    workload: Annotated[str | None, typer.Option(help="Only this workload.")] = None,
) -> None:
    """Write one file of AuthorizationPolicy a workload; 1 where one was refused (the others are written)."""
    from trainer.policies.generation.generate import DEFAULT_EXCEPTIONS
    from trainer.policies.generation.generate import generate as run

    if exceptions is None and not DEFAULT_EXCEPTIONS.is_file():
        say(f"no exceptions: neither --exceptions nor {DEFAULT_EXCEPTIONS} is here, so probes and scrapers get no rule")
    report = run(bundle, out, exceptions, custom, crds, workload)
    for line in report.lines:
        say(line)
    if report.refused:
        raise typer.Exit(_REFUSED)


@app.command()
def diff(
    policies: _Files = _POLICIES,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    namespace: _Namespaces = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 where anything differs.")] = False,  # noqa: FBT002
) -> None:
    """Tell where files and cluster differ: missing, changed, not ours, no longer wanted. Only reads."""
    from trainer.policies.cluster.cluster import connect
    from trainer.policies.cluster.delivery import diff as run
    from trainer.policies.cluster.difference import State, show
    from trainer.policies.cluster.wanted import read_wanted

    wanted = read_wanted(policies)
    found = run(connect(context, kubeconfig), wanted, namespace or (), say)
    for line in show(found):
        typer.echo(line)
    if exit_code and any(one.state is not State.EQUAL for one in found):
        raise typer.Exit(_REFUSED)


@app.command()
def push(
    policies: _Files = _POLICIES,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    namespace: _Namespaces = None,
    prune: Annotated[  # noqa: FBT002  # a flag
        bool, typer.Option("--prune", help="Also delete what we made in the same namespaces and the files don't want.")
    ] = False,
    crds: Crds = None,
    audit: _Audit = _AUDIT,
) -> None:
    """Make the cluster have what the files want, all or nothing a workload; 1 where something was refused."""
    from trainer.policies.cluster.audit import AuditLog
    from trainer.policies.cluster.cluster import connect
    from trainer.policies.cluster.delivery import Delivery
    from trainer.policies.cluster.delivery import push as run
    from trainer.policies.cluster.interrupt import stop_on_request
    from trainer.policies.cluster.wanted import read_wanted

    wanted = read_wanted(policies, crds)
    with AuditLog(audit) as log, stop_on_request(say) as stop:
        results = run(connect(context, kubeconfig), wanted, namespace or (), Delivery(log, say, stop), prune=prune)
    _end(results)


@app.command()
def promote(
    names: Annotated[
        list[str] | None, typer.Argument(help="Policies, as namespace/name, or namespaces. Default: all dry runs.")
    ] = None,
    policies: _Files = _POLICIES,
    store: SomeStore = None,
    exceptions: Annotated[
        Path | None,
        typer.Option(envvar="TRAINER_EXCEPTIONS", help="Its `selectors` say which labels workloads have, for the replay."),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(envvar="TRAINER_PROMETHEUS", help="The Prometheus server that scrapes the mesh's Envoys: a URL.")
    ] = None,
    namespace_label: Annotated[str, typer.Option(help="The label that Prometheus keeps a pod's namespace in.")] = "namespace",
    metrics: Annotated[
        Path | None, typer.Option(help="Or a file of /stats/prometheus of one workload's Envoys; then name its policy.")
    ] = None,
    min_calls: Annotated[int, typer.Option(min=1, help="Calls that a policy must have been learned from.")] = 1000,
    evidence_days: Annotated[int, typer.Option(min=1, help="Days that those calls must span.")] = 7,
    clean_days: Annotated[int, typer.Option(min=1, help="Days in dry run and of recorded calls without a refusal.")] = 7,
    waive: Annotated[
        list[Condition] | None, typer.Option(help="A condition that you answer for yourself; it is written into the audit log.")
    ] = None,
    to_cluster: Annotated[bool, typer.Option("--push", help="Also push what was promoted.")] = False,  # noqa: FBT002  # a flag
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    crds: Crds = None,
    audit: _Audit = _AUDIT,
) -> None:
    """End the dry run of policies, in their files, where every condition of the gate holds; 1 where one doesn't."""
    from trainer.policies.cluster.cluster import connect
    from trainer.policies.promotion.gate import Gate
    from trainer.policies.promotion.promotion import Sources
    from trainer.policies.promotion.promotion import promote as run

    sources = Sources(store, prometheus, namespace_label, metrics, exceptions)
    gate = Gate(min_calls, evidence_days, clean_days)
    look = to_cluster or context is not None or kubeconfig is not None
    cluster = (lambda: connect(context, kubeconfig)) if look else None
    if not run(policies, names or (), gate, sources, frozenset(waive or ()), cluster, audit, say, push=to_cluster, crds=crds):
        raise typer.Exit(_REFUSED)


@app.command()
def rollback(
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    namespace: _Namespaces = None,
    to: Annotated[
        int | None, typer.Option(help="The revision to return to; needs --namespace. Default: before the last push.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Only list the revisions that are kept.")] = False,  # noqa: FBT002  # a flag
    audit: _Audit = _AUDIT,
) -> None:
    """Return to the state before the last push, in every namespace that it changed; 1 where something was refused."""
    from trainer.policies.cluster.audit import AuditLog
    from trainer.policies.cluster.cluster import connect
    from trainer.policies.cluster.delivery import Delivery, revisions, roll_back
    from trainer.policies.cluster.interrupt import stop_on_request
    from trainer.policies.cluster.revisions import show

    if to is not None and len(namespace or ()) != 1:
        raise SettingError("to: expected one --namespace with it: each namespace numbers its own revisions")
    cluster = connect(context, kubeconfig)
    if listing:
        for line in show(revisions(cluster, namespace or ())):
            typer.echo(line)
        return
    with AuditLog(audit) as log, stop_on_request(say) as stop:
        results = roll_back(cluster, namespace or (), Delivery(log, say, stop, "rollback"), to)
    say("the files are as they were: `policies diff` tells what they want beyond this")
    _end(results)


def _end(results: "Sequence[Result]") -> None:
    """Tell what came of it in one line; exit with 1 where not everything is as wanted."""
    counts = Counter(one.outcome for one in results)
    say(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing to do")
    if not all(one.outcome.good for one in results):
        raise typer.Exit(_REFUSED)


@app.command()
def replay(
    policies: _Files,
    calls: Calls = None,
    store: SomeStore = None,
    exceptions: Annotated[
        Path | None,
        typer.Option(
            envvar="TRAINER_EXCEPTIONS", help="Its `selectors` say which labels workloads have. Default: app=NAME for all."
        ),
    ] = None,
    root_namespace: Annotated[
        str, typer.Option(envvar="TRAINER_ROOT_NAMESPACE", help="Whose policies are for the whole mesh.")
    ] = "istio-system",
    as_json: Json = False,  # noqa: FBT002  # a flag
) -> None:
    """Tell what policies would have refused; 1 where a call that ended well would have been, or it can't be told."""
    from trainer.policies.meaning.replay import replay_place
    from trainer.policies.meaning.replay_report import to_json, to_text

    found = replay_place(policies, calls, store, exceptions, root_namespace)
    typer.echo(to_json(found) if as_json else to_text(found))
    if not found.clean:
        raise typer.Exit(1)


# Further commands go here, each importing the module of its name.
