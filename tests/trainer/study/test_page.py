"""Markdown and HTML; nothing that a caller sent becomes more than a name."""

import re

import pytest

from trainer.study.charts import Plot
from trainer.study.page import Block, Grid, Heading, Points, Text, code, to_html, to_markdown

PLOT = Plot("sizes", "Sizes & more", b"png", b"svg")
BLOCKS: list[Block] = [
    Heading(1, "Study"),
    Text("**Much** of `path`."),
    Points(("one", "two")),
    Grid(("name", "calls"), (("`a|b`", "1"),)),
    PLOT,
]


def test_markdown_of_every_block() -> None:
    expected = [
        "# Study",
        "**Much** of `path`.",
        "- one\n- two",
        "| name | calls |\n| --- | ---: |\n| `a\\|b` | 1 |",
        "![Sizes & more](sizes.png)\n\n*Sizes & more* ([SVG](sizes.svg))\n",
    ]
    assert expected == to_markdown(BLOCKS).decode().split("\n\n", 4)


def test_html_of_every_block_holds_its_pictures() -> None:
    page = to_html(BLOCKS).decode()
    for part in (
        "<h1>Study</h1>",
        "<p><b>Much</b> of <code>path</code>.</p>",
        "<li>one</li>",
        '<td><code>a|b</code></td><td class="n">1</td>',
        'src="data:image/png;base64,cG5n"',
        "Sizes &amp; more",
    ):
        assert part in page


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "`<img src=x onerror=alert(1)>`",
        "[a](javascript:alert(1))",
        "**a**",
        "a\n# b",
        '"><b>',
        "",
        "{}",
    ],
)
def test_a_name_stays_a_name(name: str) -> None:
    page = to_html([Text(f"see {code(name)} there"), Grid(("a",), ((code(name),),))]).decode()
    assert set() == set(re.findall(r"<(?:script|img|a|b)\b", page))
    assert 2 == page.count("<code>")
    line = to_markdown([Text(f"see {code(name)} there")]).decode().strip()
    assert re.fullmatch(r"see `[^`\n]+` there", line)


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    page = to_html(BLOCKS).decode()
    assert "default-src 'none'" in page
    assert [] == re.findall(r"https?://|<script|<link", page)
