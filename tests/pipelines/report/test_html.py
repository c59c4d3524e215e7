"""The HTML file: a browser's view of it, by the standard library's parser."""

import re
from html.parser import HTMLParser

import pytest

from pipelines.report.html import as_html
from pipelines.report.page import page_of
from pipelines.summary.revolution import compare
from tests.pipelines.report.studies import DIGEST, ensemble, evaluated, facts, judged, png, training, whole

HOSTILE = """</td><script>alert(1)</script><img src=x onerror="alert(2)">'"&amp; `$\\frac{"""
VOID = {"meta", "img", "path", "use", "rect", "circle", "link", "br"}


class Seen(HTMLParser):
    """Elements with their attributes, the text, and whether every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def compared():
    return compare()


@pytest.fixture(scope="module")
def page(compared, digits):
    return as_html(page_of(whole(digits.manifest), compared, "a date"))


@pytest.fixture(scope="module")
def seen(page):
    return Seen(page)


def hostile_study():
    """Names, classes, keys, settings, tags: whatever a run can say is hostile."""
    row = f'"{HOSTILE.replace(chr(34), chr(34) * 2)}"'
    tables = {
        "classes": f"class,name,images,top1_accuracy,most_taken_for,times\n0,{row},9,0.5,{row},4\n",
        "confused_pairs": f"label,predicted,images,share_of_label\n{row},{row},1,0.1\n",
        "mistakes": f"key,label,predicted,probability_of_predicted,loss\n{row},{row},{row},0.9,2\n",
    }
    files = evaluated() | {f"evaluation/as_trained/{name}.csv": text.encode() for name, text in tables.items()}
    files["settings.yaml"] = b"dataset: '</script><script>alert(3)</script>'\nname: ''\n"
    tags = dict.fromkeys(training(1).tags, HOSTILE) | {"strata.dataset_digest": DIGEST}
    parameters = dict.fromkeys(training(1).parameters, HOSTILE)
    members = [
        training(seed, judged(0.05), files, name=f"{HOSTILE}{seed}", tags=tags, parameters=parameters)
        for seed in (1, 2)
    ]
    told = {"members": "id1 id2", "combine": HOSTILE, "name": HOSTILE, "protocol": "as_trained"}
    together = ensemble(members, files=files, name=f"_{HOSTILE}", parameters=told)
    return facts(*members, together, name=HOSTILE)


def test_whatever_runs_are_called_is_text(compared):
    text = as_html(page_of(hostile_study(), compared, "a date"))
    seen = Seen(text)
    assert seen.all("script") == []
    assert all(address.startswith("data:image/") for address in (image["src"] for image in seen.all("img")))
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]
    assert seen.wrong == seen.open == []
    assert "".join(seen.text).count(f"{HOSTILE}1") >= 4


def test_nothing_is_fetched_and_nothing_runs(page, seen):
    (policy,) = [meta["content"] for meta in seen.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    for _, attributes in seen.elements:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), attributes
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert {tag for tag, _ in seen.elements}.isdisjoint({"script", "iframe", "object", "embed", "link", "form"})


def test_every_element_is_closed_and_no_name_is_there_twice(seen):
    assert seen.wrong == seen.open == []
    names = [
        attributes["id"] for tag, attributes in seen.elements if "id" in attributes and tag not in ("path", "clippath")
    ]
    assert len(names) == len(set(names))


def test_links_lead_to_sections(seen):
    sections = {section["id"] for section in seen.all("section")}
    links = {link["href"].removeprefix("#") for link in seen.all("a")}
    assert links == sections
    assert len(links) == 8


def test_pictures_and_charts_say_what_they_show(seen):
    assert len(seen.all("img")) == 6
    assert all(image["alt"] and image["width"] for image in seen.all("img"))
    charts = [attributes for attributes in seen.all("div") if attributes.get("role") == "img"]
    assert len(charts) == 4
    assert all(len(chart["aria-label"]) > 40 for chart in charts)
    assert all(svg["aria-hidden"] == "true" for svg in seen.all("svg"))


def test_tables_have_headings_for_columns_and_rows(seen):
    assert {heading["scope"] for heading in seen.all("th")} == {"col", "row"}
    regions = [attributes for attributes in seen.all("div") if attributes.get("role") == "region"]
    assert len(regions) == len(seen.all("table"))
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in regions)


def test_equal_studies_give_equal_pages(page, compared, digits):
    again = as_html(page_of(whole(digits.manifest), compared, "a date"))
    assert again == page
    later = as_html(page_of(whole(digits.manifest), compared, "tomorrow"))
    assert later != page
    assert later.replace("tomorrow", "a date") == page


@pytest.mark.parametrize(
    "study",
    [
        facts(training(1, curves={}, status="RUNNING", ended_ms=None, metrics={}, artifact=lambda path: None)),
        facts(training(1, tags={}, parameters={}, artifact=lambda path: None, status="FAILED")),
        facts(training(1, judged(0.0)), training(2, judged(1.0))),
    ],
    ids=["one that has just begun", "one that knows nothing of itself", "all right and all wrong"],
)
def test_any_study_has_a_page(compared, study):
    seen = Seen(as_html(page_of(study, compared, "a date")))
    assert len(seen.all("section")) == 8
    assert seen.wrong == seen.open == []


def test_a_large_picture_can_be_moved_sideways_and_a_small_one_not(compared):
    files = evaluated() | {"evaluation/as_trained/mistakes.png": png(1200, 300)}
    page = as_html(page_of(facts(training(1, judged(0.1), files)), compared, "a date"))
    assert page.count('<figure class="picture wide">') == 1
    assert page.count('<figure class="picture">') == 4
