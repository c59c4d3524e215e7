import pytest
import torch
from horovod.torch import Compression

from pipelines.training.compression import ChannelsLastCompressor, contiguous_view

SHAPE = (4, 3, 5, 2)


def channels_last():
    return torch.randn(SHAPE).to(memory_format=torch.channels_last)


TENSORS = {
    "channels last": channels_last(),
    "contiguous": torch.randn(SHAPE),
    "pointwise": torch.randn(4, 3, 1, 1).to(memory_format=torch.channels_last),
    "matrix": torch.randn(3, 2),
    "vector": torch.randn(3),
    "number": torch.tensor(2),
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize(("inner", "digits"), [(Compression.none, {"rtol": 0, "atol": 0}), (Compression.fp16, {})])
def test_a_gradient_comes_back_as_it_was_with_its_strides(tensor, inner, digits):
    compressor = ChannelsLastCompressor(inner)
    sent, ctx = compressor.compress(tensor)
    assert sent.is_contiguous()
    back = compressor.decompress(sent, ctx)
    torch.testing.assert_close(back, tensor, **digits or {"rtol": 1e-3, "atol": 1e-4})
    assert (back.shape, back.stride(), back.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)


def test_nothing_is_copied_on_the_way():
    tensor = TENSORS["channels last"]
    compressor = ChannelsLastCompressor(Compression.none)
    sent, ctx = compressor.compress(tensor)
    assert sent.shape == (4, 5, 2, 3)
    assert sent.data_ptr() == compressor.decompress(sent, ctx).data_ptr() == tensor.data_ptr()


def test_fp16_halves_the_bytes():
    sent, _ = ChannelsLastCompressor(Compression.fp16).compress(channels_last())
    assert (sent.dtype, sent.shape) == (torch.float16, (4, 5, 2, 3))


def test_what_is_in_another_order_stays_for_horovod_to_refuse():
    transposed = torch.randn(3, 2).t()
    assert contiguous_view(transposed) is transposed
