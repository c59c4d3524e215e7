import base64
import io

from PIL import Image

from pipelines.report.pictures import LARGEST_BYTES, embedded
from tests.pipelines.report.studies import png


def opened(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2])))


def test_a_small_picture_lies_in_the_page_as_it_is():
    content = png(50, 40)
    address, width, height = embedded(content)
    assert (width, height) == (50, 40)
    assert address.startswith("data:image/png;base64,")
    assert base64.b64decode(address.partition(",")[2]) == content


def test_a_large_one_is_made_smaller():
    content = png(2000, 500)
    assert len(content) > LARGEST_BYTES
    address, width, height = embedded(content)
    assert address.startswith("data:image/webp;base64,")
    assert (width, height) == opened(address).size == (1600, 400)
    assert len(address) < len(content) / 2
