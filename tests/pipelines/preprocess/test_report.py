import pytest

from pipelines.preprocess.report import _rejects


@pytest.mark.parametrize("text", ["a$_$/b.jpg", r"begins with b'\x01$\xff\x00$abc'", "", "x" * 999])
def test_names_and_details_of_rejects_are_drawn_as_they_are(text):
    reject = {"key": text, "uri": text, "reason": "not_an_image", "detail": text}
    assert _rejects([reject]).startswith(b"\x89PNG")
