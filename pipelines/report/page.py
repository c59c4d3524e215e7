"""The whole page, put together from its sections."""

from collections.abc import Sequence

from pipelines.report.blocks import Page
from pipelines.report.facts import Facts
from pipelines.report.mistakes import mistakes
from pipelines.report.reproduce import reproduce
from pipelines.report.revolution import revolution
from pipelines.report.together import ensemble
from pipelines.report.trainings import curves, inputs, runs, speed
from pipelines.report.words import highlights, opening
from pipelines.summary.revolution import Compared


def page_of(facts: Facts, compared: Sequence[Compared], made: str) -> Page:
    """compared: all networks, with their published errors. made: the date that the page states."""
    return Page(
        title=facts.study.name,
        made=f"A study of {len(facts.study.runs)} runs in MLflow, as of {made}",
        opening=opening(facts),
        highlights=highlights(facts),
        sections=(
            revolution(facts, compared),
            runs(facts),
            curves(facts),
            ensemble(facts),
            mistakes(facts),
            inputs(facts),
            speed(facts),
            reproduce(facts),
        ),
    )
