"""What a report is made of, and how it is written: Markdown beside the pictures' files, or one HTML page that holds them.

Texts are ours, with `code` and **bold** marks; whatever came with a call must go through `code()`, so that no name can become a
link, a table or a script in somebody's browser.
"""

import base64
import html
import re
from collections.abc import Sequence

import msgspec

from trainer.study.charts import Plot
from trainer.study.table import shown

__all__ = ["Block", "Grid", "Heading", "Points", "Text", "code", "to_html", "to_markdown"]


class Heading(msgspec.Struct, frozen=True):
    """A heading; level 1 is the title."""

    level: int
    text: str


class Text(msgspec.Struct, frozen=True):
    """A paragraph."""

    text: str


class Points(msgspec.Struct, frozen=True):
    """A list of sentences."""

    texts: tuple[str, ...]


class Grid(msgspec.Struct, frozen=True):
    """A table; columns from `numbers_from` on hold numbers, which are set to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers_from: int = 1


Block = Heading | Text | Points | Grid | Plot


def code(text: str) -> str:
    """Show a name that came with a call, or one of a column, as it is and nothing more."""
    return f"`{shown(text).replace('`', chr(39)) or ' '}`"


def to_markdown(blocks: Sequence[Block]) -> bytes:
    """Write Markdown as GitHub reads it; pictures are PNG files beside it."""
    return ("\n\n".join([_markdown(block) for block in blocks]) + "\n").encode()


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Points):
        return "\n".join([f"- {text}" for text in block.texts])
    if isinstance(block, Plot):
        return f"![{block.caption}]({block.name}.png)\n\n*{block.caption}* ([SVG]({block.name}.svg))"
    rule = ["---" if index < block.numbers_from else "---:" for index in range(len(block.header))]
    return "\n".join(
        ["| " + " | ".join([cell.replace("|", "\\|") for cell in row]) + " |" for row in (block.header, rule, *block.rows)]
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; color: #222; max-width: 68em; margin: 2em auto; padding: 0 1em }}
h1, h2 {{ line-height: 1.2 }} h2 {{ margin-top: 2em; border-bottom: 1px solid #ccc }}
div {{ overflow-x: auto }} table {{ border-collapse: collapse; font-size: 14px }}
th, td {{ border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: left; vertical-align: top }}
.n {{ text-align: right; white-space: nowrap }} code {{ background: #f2f2f2; padding: 0 .2em; font-size: 90% }}
figure {{ margin: 1.5em 0 }} img {{ max-width: 100%; height: auto }} figcaption {{ color: #555; font-size: 14px }}
</style></head><body>
{body}
</body></html>
"""


def to_html(blocks: Sequence[Block]) -> bytes:
    """Write one page that needs no other file, no network and no script."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "Study")
    return _PAGE.format(title=html.escape(title), body="\n".join([_html(block) for block in blocks])).encode()


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Points):
        return "<ul>" + "".join([f"<li>{_inline(text)}</li>" for text in block.texts]) + "</ul>"
    if isinstance(block, Plot):
        data = base64.b64encode(block.png).decode()
        caption = html.escape(block.caption)
        return f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    head = "".join([f"<th{_right(block, index)}>{_inline(cell)}</th>" for index, cell in enumerate(block.header)])
    rows = ["".join([f"<td{_right(block, index)}>{_inline(cell)}</td>" for index, cell in enumerate(row)]) for row in block.rows]
    body = "".join([f"<tr>{row}</tr>" for row in rows])
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _right(block: Grid, index: int) -> str:
    return ' class="n"' if index >= block.numbers_from else ""


_CODE = re.compile(r"`([^`]{1,200})`")
_BOLD = re.compile(r"\*\*([^*]{1,200})\*\*")


def _inline(text: str) -> str:
    """Escape everything, then set code and bold; between back-ticks nothing else is read."""
    parts = _CODE.split(html.escape(text))
    return "".join([f"<code>{part}</code>" if index % 2 else _BOLD.sub(r"<b>\1</b>", part) for index, part in enumerate(parts)])
