import re
from xml.etree import ElementTree

from pipelines.report.blocks import Chart, Key
from pipelines.report.charts import COLOURS, Line, lines_over
from pipelines.report.drawing import VARIABLES, as_file, as_parts, swatch
from pipelines.report.style import STYLE

LINES = [Line({1: 2.0, 2: 1.0}, COLOURS[0])]


def chart(*keys, title="Loss"):
    return Chart("loss", (lines_over(title, "epoch", "loss", LINES, "log"),) * 2, keys, "all of it", "caption")


def texts(svg):
    return [
        "".join(element.itertext()).strip()
        for element in ElementTree.fromstring(svg).iter()
        if element.tag.endswith("text")
    ]


def test_a_file_has_all_panels_and_the_legend_on_white():
    svg = as_file(chart(Key("a run", COLOURS[0], "line"), Key("a bar", COLOURS[1], "bar")))
    found = texts(svg)
    assert found.count("Loss") == 2
    assert found[-2:] == ["a run", "a bar"]
    assert "#ffffff" in svg


def test_parts_take_the_pages_colours_and_have_no_ground():
    first, second = as_parts(chart(Key("a run", COLOURS[0], "line")))
    for svg in (first, second):
        assert svg.startswith("<svg")
        assert "var(--c0)" in svg
        assert "var(--ink)" in svg
        assert not [colour for colour in VARIABLES if colour in svg]
        assert "#ffffff" not in svg
        assert "a run" not in texts(svg.replace("xlink:href", "href"))
    assert not re.findall(r'<g id="', first)


def test_the_page_has_every_colour_in_light_and_in_dark():
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    for colour, variable in VARIABLES.items():
        assert f"{variable}: {colour};" in light
        assert f"{variable}: #" in dark


def test_logarithmic_axes_have_plain_numbers():
    drawn = lines_over("", "epoch", "loss", [Line({1: 20.0, 2: 0.004}, COLOURS[0])], "log")
    (svg,) = as_parts(Chart("loss", (drawn,), (), "", ""))
    assert {"20", "0.2", "0.005"} <= set(texts(svg.replace("xlink:href", "href")))


def test_names_are_not_read_as_formulas_and_none_is_left_out():
    hostile = r"_$\frac{<b>&$"
    found = texts(as_file(chart(Key(hostile, COLOURS[0], "dashes"), title=hostile)))
    assert found.count(hostile) == 3


def test_equal_charts_are_equal_bytes():
    keys = [Key("a", COLOURS[0], mark) for mark in ("line", "dashes", "dot", "diamond", "bar")]
    assert as_file(chart(*keys)) == as_file(chart(*keys))
    assert as_parts(chart(*keys)) == as_parts(chart(*keys))
    assert len({swatch(key) for key in keys}) == 5
