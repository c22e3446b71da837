"""The command line: `python -m authz_server serve | check | settings`. In: arguments and environment. Out: an exit code, 0 or 2.

Flags are made from the fields of Settings. argparse and not typer: in a process that has grpc and prometheus-client loaded, typer
costs another 10.6 MB and about 200 ms before the first line runs, argparse 0.4 MB and 8 ms (2026-11, 23 flags); the server's
budget is 100 MB and 1.5 s. What costs start-up time is imported by the command that needs it.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from authz_server.engine.errors import MeshwardenError
from authz_server.settings import Settings, nearest, read_settings, setting_names, to_flag

__all__ = ["main"]

_FAILED = 2
_COMMANDS = {
    "serve": "answer Envoy until SIGTERM",
    "check": "are settings, policy and bundle valid? prints every problem at once, or what would run",
    "settings": "print the table of settings as Markdown",
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; return 0, or 2 when something was wrong (then every problem is on standard error)."""
    command, flags, problems = _parse(arguments)
    if command == "settings":
        from authz_server.settings_table import to_markdown

        return _print(to_markdown())
    settings, wrong = read_settings(environment, flags)
    problems += wrong
    if command == "check" or problems:
        return _check(settings, problems)
    return _serve(settings)


def _parse(arguments: Sequence[str]) -> tuple[str, dict[str, str | None], list[str]]:
    """Split arguments into the command, flags by setting name, and what can't be understood."""
    help_asked = any(argument in ("-h", "--help") for argument in arguments)
    texts = _texts() if help_asked else {}
    parser = argparse.ArgumentParser(prog="python -m authz_server", description="Answers Envoy's external authorization.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in _COMMANDS.items():
        sub = commands.add_parser(command, help=text, description=text, allow_abbrev=False)
        for name in setting_names() if command != "settings" else ():
            expected, meaning = texts.get(name, ("", ""))
            sub.add_argument(to_flag(name), dest=name, metavar="VALUE", help=f"{expected}. {meaning}".replace("%", "%%"))
    known, unknown = parser.parse_known_args(list(arguments))
    flags = vars(known)
    return flags.pop("command"), flags, _not_understood(unknown)


def _texts() -> dict[str, tuple[str, str]]:
    from authz_server.settings_table import describe_settings  # reads our own source

    return describe_settings()


def _not_understood(arguments: list[str]) -> list[str]:
    flags = [to_flag(name) for name in setting_names()]
    problems = []
    after_flag = False
    for argument in arguments:
        if argument.startswith("-"):
            flag, equals, _ = argument.partition("=")
            problems.append(f"{flag[:100]}: expected a known flag{nearest(flag, flags, '--')}")
            after_flag = not equals
        else:
            if not after_flag:
                problems.append(f"expected flags only, got {argument[:100]!r}")
            after_flag = False
    return problems


def _check(settings: Settings, problems: list[str]) -> int:
    from authz_server.startup import describe, load_parts, unusable  # brings yaml

    problems = [*problems, *unusable(settings)]
    try:
        parts = load_parts(settings)
    except MeshwardenError as error:
        return _tell([*problems, *error.problems])
    if problems:
        return _tell(problems)
    return _print(describe(settings, parts))


def _serve(settings: Settings) -> int:
    from authz_server.server import serve  # brings grpc

    try:
        serve(settings)
    except MeshwardenError as error:
        return _tell(list(error.problems))
    return 0


def _print(text: str) -> int:
    """Write a text to standard output; a reader that has gone, as in `check | head -1`, is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends
    return 0


def _tell(problems: list[str]) -> int:
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    sys.stderr.write("\n".join([f"authz_server: {count}:", *[f"  {problem}" for problem in problems]]) + "\n")
    return _FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
