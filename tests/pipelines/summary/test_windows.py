import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from pipelines.summary.windows import AdaptiveWindow, Field, Window

small = st.integers(1, 5)


@given(st.integers(1, 30), small, small, st.integers(0, 2), st.integers(1, 3))
def test_a_convolution_makes_as_many_outputs_as_the_rule_says(pixels, size, stride, padding, dilation):
    window = Window(pixels, size, stride, padding, dilation)
    assume(window.room >= 0)
    made = F.conv1d(torch.zeros(1, 1, pixels), torch.zeros(1, 1, size), None, stride, padding, dilation)
    assert window.outputs == made.shape[-1]


@given(st.integers(1, 30), small, small, st.integers(0, 2))
def test_pooling_in_ceil_mode_makes_as_many_outputs_as_the_rule_says(pixels, size, stride, padding):
    window = Window(pixels, size, stride, padding, ceil=True)
    assume(window.room >= 0 and padding <= size // 2)
    made = F.max_pool1d(torch.zeros(1, 1, pixels), size, stride, padding, 1, ceil_mode=True)
    assert window.outputs == made.shape[-1]


@given(st.integers(1, 30), st.integers(1, 30))
def test_adaptive_pooling_has_windows_as_wide_as_told(pixels, outputs):
    reached = torch.eye(pixels).unsqueeze(1)
    made = F.adaptive_avg_pool1d(reached, outputs).squeeze(1)
    assert AdaptiveWindow(pixels, outputs).size == (made > 0).sum(0).max()


@given(st.lists(st.tuples(small, st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=3))
def test_an_output_sees_the_pixels_of_its_receptive_field_and_no_others(layers):
    pixels, place = 120, 2
    field, network = Field(), nn.Sequential()
    for size, stride, padding in layers:
        padding = min(padding, size - 1)
        field = Window(pixels, size, stride, padding).field(field)
        layer = nn.Conv1d(1, 1, size, stride, padding)
        nn.init.ones_(layer.weight)
        network.append(layer)
    image = torch.ones(1, 1, pixels, requires_grad=True)
    network(image)[0, 0, place].backward()
    seen = image.grad[0, 0].nonzero().flatten().tolist()
    first, last = field.offset + place * field.stride, field.offset + place * field.stride + field.size - 1
    assert (seen[0], seen[-1]) == (max(0, first), last)


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(227, 11, 4), ""),
        (
            Window(224, 11, 4),
            "(224 - 11 + 2*0)/4 + 1 = 54.25 is not whole; rounded down to 54: "
            "the last row and the last column of its input are never seen",
        ),
        (
            Window(10, 3, 5),
            "(10 - 3 + 2*0)/5 + 1 = 2.4 is not whole; rounded down to 2: "
            "the last 2 rows and columns of its input are never seen",
        ),
        (
            Window(224, 7, 2, 3),
            "(224 - 7 + 2*3)/2 + 1 = 112.5 is not whole; rounded down to 112: "
            "1 of the padding's 3 at the right and bottom left over, no pixel is lost",
        ),
        (
            Window(110, 3, 2, ceil=True),
            "(110 - 3 + 2*0)/2 + 1 = 54.5 is not whole; rounded up to 55: "
            "the last window hangs over the edge by 1 and takes what is inside",
        ),
        (
            Window(4, 2, 3, ceil=True),
            "(4 - 2 + 2*0)/3 + 1 = 1.6667 is not whole; rounded up to 2: "
            "the last window hangs over the edge by 1 and takes what is inside",
        ),
        (
            Window(4, 2, 3, 1, ceil=True),
            "(4 - 2 + 2*1)/3 + 1 = 2.3333 is not whole; rounding up would start a window beyond the pixels, "
            "so it is rounded down to 2: 1 of the padding's 1 at the right and bottom left over, no pixel is lost",
        ),
        (
            AdaptiveWindow(13, 6),
            "13/6 = 2.17 is not whole; adaptive pooling takes windows of 3 pixels, some of which overlap: "
            "every pixel is seen, some more than once",
        ),
        (AdaptiveWindow(14, 7), ""),
    ],
    ids=str,
)
def test_a_division_that_leaves_a_rest_is_explained(window, text):
    assert window.rule() == text
