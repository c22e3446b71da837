"""`python -m demo run`: the command line of the demo."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from demo.mesh import AuthzServer, Mesh
from demo.processes import DemoError, ignore_settings
from demo.report import Narrator
from demo.run import POLICY, Options, run

OUT = Path(__file__).parent / "out"
INTERRUPTED = 130

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command("run")
def run_command(
    seed: Annotated[int, typer.Option(help="Everything the clients do follows from it.")] = 1,
    calls_learn: Annotated[int, typer.Option(min=1, help="Calls from outside to learn from.")] = 28_000,
    calls_check: Annotated[int, typer.Option(min=1, help="Everyday calls under enforcement; half in dry run.")] = 4_000,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = OUT,
) -> None:
    """Learn, train, replay in dry run, enforce, attack; end with a table and OUT/summary.json."""
    narrator = Narrator()
    console = narrator.console
    try:
        code = run(Options(out.resolve(), seed, calls_learn, calls_check), narrator)
    except DemoError as error:
        console.print("[red]the demo stopped:[/]", end=" ")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        code = 2
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        code = INTERRUPTED
    raise typer.Exit(code)


@app.command("mesh")
def mesh_command(
    mode: Annotated[str, typer.Option(help="dry_run or enforce.")] = "dry_run",
    bundle: Annotated[Path | None, typer.Option(help="What was learned; without it everything is allowed.")] = None,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = OUT,
) -> None:
    """Start the mesh and leave it up until Ctrl-C, to look around with curl."""
    console = Console()
    out = out.resolve()
    (out / "decisions").mkdir(parents=True, exist_ok=True)
    settings = AuthzServer(mode, POLICY, out / "store" / "mesh", out / "decisions" / "mesh.jsonl", bundle)
    try:
        with Mesh(out, settings) as mesh:
            console.print(f"gateway        http://{mesh.gateway}   (Host: shop.demo.local or bookinfo.demo.local)")
            console.print(f"authz_server   {mesh.authz_admin}/decisions")
            for name, url in mesh.admin_urls.items():
                console.print(f"Envoy          {url}   {name}")
            signal.pause()
    except DemoError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print("everything is stopped")


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    ignore_settings()
    app()
