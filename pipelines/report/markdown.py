"""A page as Markdown, with its charts and pictures as files beside it."""

import re
from collections.abc import Callable
from html import escape

from pipelines.report.blocks import Block, Chart, Code, Mono, Page, Picture, Section, Strong, Table, Text
from pipelines.report.drawing import as_file


def as_markdown(page: Page, folder: str) -> str:
    """The text; `files` are to lie in that folder, relative to it."""
    parts = [f"# {_plain(page.title)}", _plain(page.made), *(_block(block, folder) for block in page.opening)]
    parts += [
        "\n".join(f"- {_plain(one.label)}: **{_plain(one.value)}** ({_plain(one.detail)})" for one in page.highlights)
    ]
    parts += [_section(section, folder) for section in page.sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def files(page: Page) -> dict[str, bytes]:
    """Name to content of the charts and pictures."""
    blocks = [block for section in page.sections for block in section.blocks]
    charts = {_name(block): as_file(block).encode() for block in blocks if isinstance(block, Chart)}
    return charts | {_name(block): block.png for block in blocks if isinstance(block, Picture)}


def _name(block: Chart | Picture) -> str:
    return f"{block.name}.svg" if isinstance(block, Chart) else f"{block.name}.png"


def _section(section: Section, folder: str) -> str:
    return "\n\n".join([f"## {_plain(section.title)}", *(_block(block, folder) for block in section.blocks)])


def _block(block: Block, folder: str) -> str:
    writers: dict[type, Callable[..., str]] = {
        Text: lambda block: "".join(map(_part, block.parts)).strip(),
        Table: _table,
        Chart: lambda block: _image(block, folder),
        Picture: lambda block: _image(block, folder),
        Code: _code,
    }
    return writers[type(block)](block)


def _part(part: str) -> str:
    if isinstance(part, Mono):
        return _mono(part)
    return f"**{_plain(part)}**" if isinstance(part, Strong) else _plain(part)


def _plain(words: str) -> str:
    """The words as text: what Markdown, or HTML in it, could take for markup is escaped."""
    words = " ".join(escape(words, quote=False).splitlines())
    words = re.sub(r"([\\`*\[\]|~$])", r"\\\1", words)
    words = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", words)
    return re.sub(r"^([#+-]|\d+\.)(?=\s|$)", r"\\\1", words)


def _mono(words: str) -> str:
    """Between more backticks than it has in a row; a bar would end a table's cell."""
    words = " ".join(words.splitlines()) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    edge = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{edge}{words}{edge}{fence}"


def _table(table: Table) -> str:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.headings))]
    rows = [[_plain(cell) for cell in row] for row in (table.headings, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    return "\n".join([f"**{_plain(table.title)}**", "", *lines])


def _image(block: Chart | Picture, folder: str) -> str:
    return f"![{_plain(block.alternative)}]({folder}/{_name(block)})\n\n{_plain(block.caption)}"


def _code(code: Code) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code.lines)), default=0))
    return f"**{_plain(code.title)}**\n\n{fence}\n{code.lines}\n{fence}"
