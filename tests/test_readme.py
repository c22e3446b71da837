"""The README says what the program says."""

import tomllib
from pathlib import Path

from authz_server.settings_table import to_markdown

README = Path(__file__).parent.parent / "README.md"


def test_the_settings_table_is_what_the_settings_command_prints() -> None:
    _, _, after = README.read_text().partition("<!-- settings: python -m authz_server settings -->\n")
    shown, _, _ = after.partition("<!-- /settings -->")

    assert to_markdown().strip() == shown.strip()


def test_the_licence_that_is_named_is_there_and_goes_with_every_package() -> None:
    root = README.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]

    assert ("Apache-2.0", ["LICENSE"]) == (project["license"], project["license-files"])
    assert "[Apache-2.0](LICENSE)" in README.read_text()
    assert "Version 2.0, January 2004" in (root / "LICENSE").read_text()
    assert "COPY pyproject.toml README.md LICENSE ./" in (root / "Dockerfile").read_text()


def test_the_two_commands_are_named_and_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()

    for target in ("demo", "test"):
        assert f"make {target}" in README.read_text()
        assert f"\n{target}: setup" in makefile
