"""The options that several commands have, each with its variable and its words."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Bundle", "Calls", "Crds", "HashKey", "Json", "Policy", "SomeStore", "Spool", "Store"]

Bundle = Annotated[str, typer.Option(envvar="TRAINER_BUNDLE", help="The bundle: a directory or an fsspec URL.")]
Store = Annotated[str, typer.Option(envvar="TRAINER_STORE", help="Where recorded calls lie: a directory or an fsspec URL.")]
SomeStore = Annotated[
    str | None, typer.Option(envvar="TRAINER_STORE", help="Where recorded calls lie: a directory or an fsspec URL.")
]
Calls = Annotated[
    str | None, typer.Option(envvar="TRAINER_CALLS", help="A file of calls, in the `calls` format, .gz and .zst too.")
]
HashKey = Annotated[
    str,
    typer.Option(
        envvar="TRAINER_HASH_KEY",
        help="Secret under which values are hashed, the same as the server's AUTHZ_HASH_KEY. Better set by environment.",
        show_default=False,
    ),
]
Policy = Annotated[
    Path | None,
    typer.Option(
        envvar="TRAINER_POLICY", help="The enforcement policy: where sessions are read from. Default: principal, address."
    ),
]
Spool = Annotated[
    str | None,
    typer.Option(envvar="TRAINER_SPOOL", help="Where segments wait for their upload when --store is a URL. Default: under /tmp."),
]
Crds = Annotated[
    Path | None, typer.Option(envvar="TRAINER_CRDS", help="Istio's CustomResourceDefinitions, to hold policies against.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
