"""The command line: `python -m trainer collect | import | train | evaluate | callers | workflows | openapi | policies | study`.

In: flags and `TRAINER_*`. Out: files, and an exit code, 0 or 2.

A flag overrides the environment variable of the same name. What costs start-up time is imported by the command that needs it.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.core import TyperCommand, TyperGroup

from authz_server.engine.errors import MeshwardenError, SettingError
from authz_server.engine.observe import Observer
from authz_server.settings import unknown_variables
from trainer.imports import Format, Imports
from trainer.openapi.form import Form
from trainer.options import Bundle, Calls, HashKey, Json, Policy, SomeStore, Spool, Store
from trainer.plural import plural
from trainer.policies.commands import app as policies
from trainer.terminal import columns, say, track_import, track_training
from trainer.workflows.export import Form as WorkflowForm

__all__ = ["app", "main"]

_FAILED = 2
_TERMINATED = 128 + signal.SIGTERM
_PREFIX = "TRAINER_"
_EXTRAS: Final = {
    **dict.fromkeys(("cel", "joblib", "jsonschema", "kubernetes", "scipy", "sklearn", "threadpoolctl", "zstandard"), "trainer"),
    **dict.fromkeys(("matplotlib", "mpl_toolkits"), "study"),
}
"""Which extra brings a package that commands import when they need it."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes cut flags and variables off on a narrow terminal
    context_settings={"max_content_width": 110},
)


@app.callback()
def _setup(context: typer.Context) -> None:
    """Learn from recorded calls what is normal."""
    from authz_server.log import configure

    configure("info")
    problems = list(unknown_variables(os.environ, _PREFIX, sorted(set(_variables(context.command)))))
    if problems:
        raise SettingError(*problems)


def _variables(command: object) -> Iterator[str]:
    """List the environment variables that a command, or one below it, reads."""
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            yield from _variables(below)
    elif isinstance(command, TyperCommand):
        yield from [parameter.envvar for parameter in command.params if isinstance(parameter.envvar, str)]


@app.command()
def collect(
    store: Store,
    listen: Annotated[
        str | None, typer.Option(envvar="TRAINER_LISTEN", help="HOST:PORT or unix:PATH for Envoy's gRPC access log.")
    ] = None,
    mirror: Annotated[str | None, typer.Option(envvar="TRAINER_MIRROR", help="HOST:PORT for mirrored HTTP/1.1 requests.")] = None,
    hold_seconds: Annotated[
        float, typer.Option(envvar="TRAINER_HOLD_SECONDS", min=0, max=600, help="How long a call waits for its other half.")
    ] = 5.0,
    hash_key: HashKey = "",
    policy: Policy = None,
    spool: Spool = None,
) -> None:
    """Collect live calls from Envoy's access log and mirrored requests, until SIGTERM or Ctrl-C."""
    from authz_server.enforcement import load_enforcement
    from trainer.collect import collect as run
    from trainer.keys import beside

    observer = Observer(hash_key)

    def started(listen_port: int | None, mirror_port: int | None) -> None:
        say(f"collecting into {store}: access log on port {listen_port or '-'}, mirrored requests on port {mirror_port or '-'}")

    if mixed := beside(store, observer.key_id):
        say(mixed)
    collected = run(
        listen,
        mirror,
        store,
        observer,
        load_enforcement(policy),
        hold_seconds=hold_seconds,
        spool=spool,
        started=started,
    )
    say(
        f"collected {collected.written:,} calls from {collected.entries:,} access log entries and {collected.requests:,} mirrored"
        f" requests; {collected.pairs:,} had both"
    )


@app.command("import")
def import_(
    files: Annotated[list[str], typer.Argument(help="Files, .gz and .zst too; - for standard input.")],
    store: Store,
    file_format: Annotated[Format, typer.Option("--format", envvar="TRAINER_FORMAT", help="What the files are.")],
    skip_bad: Annotated[  # noqa: FBT002  # a flag: typer passes it by name
        bool, typer.Option("--skip-bad", envvar="TRAINER_SKIP_BAD", help="Count bad lines instead of stopping at the first.")
    ] = False,
    hash_key: HashKey = "",
    policy: Policy = None,
    spool: Spool = None,
) -> None:
    """Import calls from files of another format."""
    from authz_server.enforcement import load_enforcement
    from trainer.imports import import_files
    from trainer.keys import beside

    observer = Observer(hash_key)
    if mixed := beside(store, observer.key_id):
        say(mixed)
    imports = Imports()
    try:
        with track_import(files) as progress:
            import_files(
                files,
                file_format,
                store,
                observer,
                load_enforcement(policy),
                imports,
                skip_bad=skip_bad,
                spool=spool,
                progress=progress,
            )
    except (KeyboardInterrupt, SystemExit):
        say(f"stopped; imported before it: {plural(imports.written, 'call')} into {store}")
        raise
    for problem in imports.problems:
        say(problem)
    say(f"imported {imports.written:,} calls into {store}; {imports.skipped:,} bad lines skipped")


@app.command()
def train(
    store: Store,
    out: Annotated[str, typer.Option(envvar="TRAINER_OUT", help="Where the bundle is published: a directory.")],
    jobs: Annotated[int, typer.Option(envvar="TRAINER_JOBS", help="Processes that share out the workloads; -1: one a core.")] = 1,
    hash_key: HashKey = "",
) -> None:
    """Learn what is normal from a store, and publish it as a bundle."""
    from trainer.keys import left_out
    from trainer.train import train as run

    key_id = Observer(hash_key).key_id
    if note := left_out(store, key_id):
        say(note)
    with track_training() as progress:
        manifest = run(store, out, key_id, jobs, progress)
    for name, entry in manifest.workloads.items():
        say(f"{name}: {plural(entry.calls, 'call')} at {plural(entry.endpoints, 'endpoint')}")
    say(f"published revision {manifest.revision} in {out}")


@app.command()
def evaluate(
    bundle: Bundle,
    calls: Calls = None,
    store: SomeStore = None,
    budget: Annotated[
        float, typer.Option(envvar="TRAINER_BUDGET", help="Accepted share of normal calls refused, between 0 and 1.")
    ] = 1e-3,
    as_json: Json = False,  # noqa: FBT002  # a flag
    hash_key: HashKey = "",
    policy: Policy = None,
) -> None:
    """Measure a bundle on labelled calls: true and false positives with 95 % intervals, per attack."""
    from trainer.evaluate import evaluate_place
    from trainer.evaluation_report import to_json, to_text
    from trainer.keys import left_out

    observer = Observer(hash_key)
    evaluation = evaluate_place(bundle, calls, store, budget, observer, policy)
    if store is not None and (note := left_out(store, observer.key_id)):
        say(note)
    typer.echo(to_json(evaluation) if as_json else to_text(evaluation, columns(100)))


@app.command()
def callers(
    store: SomeStore = None,
    calls: Annotated[
        str | None, typer.Option(envvar="TRAINER_CALLS", help="A file of calls in clear: claims of tokens can be ranked too.")
    ] = None,
    file_format: Annotated[Format, typer.Option("--format", envvar="TRAINER_FORMAT", help="What the file is.")] = Format.CALLS,
    as_json: Json = False,  # noqa: FBT002  # a flag
) -> None:
    """Tell where a session can be read from: cookies, headers and claims that tell callers apart, ranked with the evidence."""
    from trainer.callers_report import from_file, from_store, to_json, to_text
    from trainer.keys import left_out, newest_key

    if (store is None) == (calls is None):
        raise SettingError("store: expected either --store or --calls")
    found = from_store(store) if store is not None else from_file(calls or "", file_format)
    if store is not None and (note := left_out(store, newest_key(store) or "")):
        say(note)
    typer.echo(to_json(found) if as_json else to_text(found, columns(160)))


@app.command()
def openapi(
    bundle: Bundle,
    out: Annotated[str | None, typer.Option(envvar="TRAINER_OUT", help="Where documents are written: a directory.")] = None,
    old: Annotated[
        Path | None, typer.Option("--diff", help="Earlier documents, a file or directory: tell what is new, gone and changed.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A document of yours (OpenAPI 3 or Swagger 2): tell where calls and document disagree.")
    ] = None,
    workload: Annotated[str | None, typer.Option(help="Only this workload; --against needs it where there are several.")] = None,
    form: Annotated[
        Form, typer.Option("--format", envvar="TRAINER_DOCUMENT_FORMAT", help="How documents are written.")
    ] = Form.YAML,
    words: Annotated[
        Path | None,
        typer.Option(envvar="TRAINER_WORDS", help="Words, one a line, that may be among an enumeration's values and be shown."),
    ] = None,
    as_json: Json = False,  # noqa: FBT002  # a flag
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 where reports name anything.")] = False,  # noqa: FBT002
    hash_key: HashKey = "",
) -> None:
    """Write what was learned as OpenAPI 3.1 documents, one a workload, and tell what differs from others."""
    from trainer.openapi.export import Export, read_document, write_documents
    from trainer.openapi.report import to_report

    spec = read_document(against) if against is not None else None
    export = Export(bundle, Observer(hash_key), workload, words, spec)
    if not export.same_key:
        say(f"the hash key isn't the one that the bundle was learned under ({export.keys}): values of enumerations stay unnamed")
    if out is None and old is None and spec is None:
        raise SettingError("out: expected where to write documents, or --diff, or --against")
    # Compared before anything is written: the earlier documents may be those that are replaced.
    report = to_report(export, old, spec, as_json=as_json) if old is not None or spec is not None else None
    if out is not None:
        names = write_documents(export, out, form)
        say(f"wrote {plural(len(names), 'document')} of revision {export.bundle.revision} into {out}: {', '.join(names)}")
    if report is not None:
        text, count = report
        typer.echo(text)
        if exit_code and count:
            raise typer.Exit(1)


@app.command()
def workflows(
    bundle: Bundle,
    out: Annotated[
        Path | None, typer.Option(envvar="TRAINER_OUT", help="Where files are written: a directory. Default: printed.")
    ] = None,
    form: Annotated[WorkflowForm, typer.Option("--format", envvar="TRAINER_WORKFLOW_FORMAT", help="How they are written.")] = (
        WorkflowForm.MERMAID
    ),
    workload: Annotated[str | None, typer.Option(help="Only this workload. Default: all.")] = None,
) -> None:
    """Write what callers usually do after what, by journey, the mined rules, who calls whom, and what follows in the mesh."""
    from trainer.workflows.export import render, write

    files = render(bundle, form, workload)
    if out is None:
        typer.echo("\n".join(files.values()), nl=False)
        return
    write(files, out)
    say(f"wrote {plural(len(files), 'file')} into {out}: {', '.join(files)}")


app.add_typer(policies, name="policies")


@app.command()
def study(
    out: Annotated[str, typer.Option(envvar="TRAINER_OUT", help="Where report, plots and table are written: a directory.")],
    store: SomeStore = None,
    calls: Calls = None,
    clusters: Annotated[
        str, typer.Option(envvar="TRAINER_CLUSTERS", help="How many clusters, 2 to 10; auto: as the silhouette says.")
    ] = "2",
    workload: Annotated[str | None, typer.Option(help="Only calls to this workload. Default: all.")] = None,
    seed: Annotated[
        int, typer.Option(envvar="TRAINER_SEED", min=0, max=2**32 - 1, help="Chooses sample and k-means' starts.")
    ] = 0,
    sample: Annotated[
        int, typer.Option(envvar="TRAINER_SAMPLE", min=1, max=200_000, help="Calls looked at; all are counted.")
    ] = 20_000,
    hash_key: HashKey = "",
    policy: Policy = None,
) -> None:
    """Cluster telemetry and tell how far clusters have to do with attacks: tables, plots, a report. Needs the extra `study`."""
    from trainer.study.publish import publish_study, to_wanted

    publish_study(
        calls,
        store,
        out,
        wanted=to_wanted(clusters),
        workload=workload,
        seed=seed,
        sample=sample,
        observer=Observer(hash_key),
        policy=policy,
        progress=say,
    )


# Further commands go here, each importing the module of its name.


def main() -> int:
    """Run the command line; an expected error is one line a problem, and 2. SIGTERM ends it as Ctrl-C does, tidily."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        app(standalone_mode=True)
    except MeshwardenError as error:
        for problem in error.problems:
            sys.stderr.write(f"error: {problem}\n")
        return _FAILED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        sys.stderr.write(f"error: expected the package `{package}`: pip install 'meshwarden[{_EXTRAS[package]}]'\n")
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
