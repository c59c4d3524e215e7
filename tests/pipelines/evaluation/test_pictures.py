import pytest

from pipelines.evaluation.mistakes import Mistake
from pipelines.evaluation.pictures import draw_mistakes


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_title_of_a_contact_sheet_fits_however_few_mistakes_there_are(count):
    figure = draw_mistakes([Mistake(1.0, f"{number}", 0, 1, 0.5) for number in range(count)], {}, ["a", "b"])
    figure.draw_without_rendering()
    (title,) = figure.texts
    assert title.get_window_extent().x0 >= 0
    assert title.get_window_extent().x1 <= figure.bbox.x1
