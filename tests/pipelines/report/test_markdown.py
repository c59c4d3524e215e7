import re

import pytest

from pipelines.report.blocks import Code, Highlight, Mono, Page, Section, Strong, Table, text
from pipelines.report.html import as_html
from pipelines.report.markdown import as_markdown, files
from pipelines.report.page import page_of
from pipelines.summary.revolution import compare
from tests.pipelines.report.studies import whole


def written(*blocks):
    """A section of these blocks, without its title."""
    return as_markdown(Page("t", "m", (), (), (Section("a", "title", blocks),)), "p").partition("## title\n\n")[2]


@pytest.mark.parametrize(
    ("words", "markdown"),
    [
        ("<script>", "&lt;script&gt;"),
        ("a | b", "a \\| b"),
        ("*a* _b_ [c](d)", "\\*a\\* \\_b\\_ \\[c\\](d)"),
        ("lenet5_modern", "lenet5_modern"),
        ("two\nlines", "two lines"),
        ("# no title", "\\# no title"),
        ("1. no list", "\\1. no list"),
        ("$x$ and `y`", "\\$x\\$ and \\`y\\`"),
    ],
)
def test_what_could_be_markup_is_escaped(words, markdown):
    assert written(text(words)) == f"{markdown}\n"
    assert f"| {markdown} |" in written(Table("t", ("h",), ((words,),)))


def test_code_holds_what_it_is_given():
    assert written(text(Mono("a`b"), " is ", Strong("*"))) == "``a`b`` is **\\***\n"
    assert written(text(Mono("`a"))) == "`` `a ``\n"
    assert "````\n```\n````" in written(Code("t", "```"))


def test_tables_are_set_flush_right_where_they_are_numbers():
    table = Table("Some", ("a", "b"), (("x", "1"), ("y", "2")), frozenset((1,)))
    assert written(table) == "**Some**\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2 |\n"


def test_highlights_are_a_list():
    page = Page("t", "m", (), (Highlight("gain", "1 point", "of all"),), ())
    assert "- gain: **1 point** (of all)" in as_markdown(page, "p")


def test_it_has_the_tables_of_the_html_page_and_its_pictures_beside_it(digits):
    page = page_of(whole(digits.manifest), compare(), "a date")
    markdown, html, beside = as_markdown(page, "pictures"), as_html(page), files(page)
    tables = [block for section in page.sections for block in section.blocks if isinstance(block, Table)]
    assert markdown.count("\n| ---") == html.count("<table>") == len(tables) == 7
    referred = re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", markdown)
    assert sorted(referred) == sorted(beside)
    assert {name.rpartition(".")[2] for name in beside} == {"svg", "png"}
    assert "mistakes.png" in beside
