"""A page as one HTML file: nothing is fetched, nothing runs, and whatever runs are called is text."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import groupby

from pipelines.report.blocks import Block, Chart, Code, Mono, Page, Picture, Section, Strong, Table, Text
from pipelines.report.drawing import as_parts, swatch
from pipelines.report.pictures import embedded
from pipelines.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser is to allow: no script, nothing from elsewhere."""
_WIDE = 1100
"""Pixels across, above which a picture is not shrunk to a phone, but moved sideways, and has a row of its own."""


def as_html(page: Page) -> str:
    """The whole file."""
    title, made = escape(page.title), escape(page.made)
    links = "".join(f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in page.sections)
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f'<header>\n<h1>{title}</h1>\n<p class="made">{made}</p>',
            *map(_block, page.opening),
            _highlights(page),
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>',
            *map(_section, page.sections),
            f"</main>\n<footer>Made by jobs/report.py of Strata. {made}.</footer>\n</body>\n</html>\n",
        )
    )


def _highlights(page: Page) -> str:
    shown = "".join(
        f'<div><dt>{escape(one.label)}</dt><dd class="value">{escape(one.value)}</dd>'
        f'<dd class="detail">{escape(one.detail)}</dd></div>\n'
        for one in page.highlights
    )
    return f'<dl class="highlights">\n{shown}</dl>' if shown else ""


def _section(section: Section) -> str:
    blocks = "\n".join(_in_rows(section.blocks))
    name = f"{section.anchor}-title"
    return (
        f'<section id="{section.anchor}" aria-labelledby="{name}">\n<h2 id="{name}">{escape(section.title)}</h2>\n'
        f"{blocks}\n</section>"
    )


def _in_rows(blocks: Sequence[Block]) -> Iterator[str]:
    """The blocks, pictures that follow each other side by side where there is room."""
    for are_pictures, some in groupby(blocks, lambda block: isinstance(block, Picture)):
        written = "\n".join(map(_block, some))
        yield f'<div class="pictures">\n{written}\n</div>' if are_pictures else written


def _block(block: Block) -> str:
    writers: dict[type, Callable[..., str]] = {
        Text: _text, Table: _table, Chart: _chart, Picture: _picture, Code: _code,
    }  # fmt: skip
    return writers[type(block)](block)


def _text(block: Text) -> str:
    kind = "" if block.kind == "plain" else f' class="{block.kind}"'
    return f"<p{kind}>{''.join(map(_part, block.parts))}</p>"


def _part(part: str) -> str:
    name = "code" if isinstance(part, Mono) else "strong" if isinstance(part, Strong) else ""
    return f"<{name}>{escape(part)}</{name}>" if name else escape(part)


def _table(table: Table) -> str:
    kinds = [' class="number"' if column in table.numeric else "" for column in range(len(table.headings))]
    headings = "".join(
        f'<th scope="col"{kind}>{escape(heading)}</th>' for heading, kind in zip(table.headings, kinds, strict=True)
    )
    rows = []
    for first, *others in table.rows:
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(others, kinds[1:], strict=True))
        rows.append(f'<tr><th scope="row"{kinds[0]}>{escape(first)}</th>{cells}</tr>')
    body = "\n".join(rows)
    caption = "" if table.is_folded else f"<caption>{escape(table.title)}</caption>"
    shown = (
        f'<div class="scroll" role="region" aria-label="{escape(table.title)}" tabindex="0">\n<table>{caption}\n'
        f"<thead><tr>{headings}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
    return _folded(table.title, shown) if table.is_folded else shown


def _chart(chart: Chart) -> str:
    keys = "".join(f"<li>{swatch(key)}{escape(key.label)}</li>" for key in chart.keys)
    lone = " lone" if len(chart.panels) == 1 else ""
    panels = "\n".join(as_parts(chart))
    return (
        f'<figure>\n<ul class="legend">{keys}</ul>\n<div class="panels{lone}" role="img" '
        f'aria-label="{escape(chart.alternative)}">\n{panels}\n</div>\n'
        f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
    )


def _picture(picture: Picture) -> str:
    address, width, height = embedded(picture.png)
    image = f'<img src="{address}" width="{width}" height="{height}" alt="{escape(picture.alternative)}">'
    is_wide = width > _WIDE
    shown = f'<div class="scroll" tabindex="0">{image}</div>' if is_wide else image
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>"
    return f'<figure class="picture{" wide" if is_wide else ""}">\n{shown}\n{caption}</figure>'


def _code(code: Code) -> str:
    lines = f'<pre tabindex="0"><code>{escape(code.lines)}</code></pre>'
    return _folded(code.title, lines) if code.is_folded else f"<h3>{escape(code.title)}</h3>\n{lines}"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"
