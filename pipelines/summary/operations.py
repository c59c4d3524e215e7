"""What a call of a torch function is to a learner: a convolution, a pooling, a fully connected layer, and its price.

Multiply-adds are those of convolutions, fully connected layers and matrix products, as the field counts them: additions
of a bias, normalisation, pooling and rectifiers are not among them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from pipelines.summary.windows import AdaptiveWindow, Window

Windows = tuple[Window, Window] | tuple[AdaptiveWindow, AdaptiveWindow]


@dataclass(frozen=True)
class Operation:
    """One call. label: as VGG's table writes it: CONV3-64, POOL2, FC 4096."""

    kind: Literal["conv", "fc", "pool", "norm", "add", "concat", "pad"]
    label: str
    filter: str = ""
    multiply_adds: int = 0
    """Per image."""
    windows: Windows | None = None
    """Along height and width."""


def operation(name: str, args: Sequence[Any], kwargs: dict[str, Any], output: Tensor) -> Operation | None:
    """The operation that the torch function `name` performed; None for one without a row of its own."""
    reader = _READERS.get(name)
    return reader(output, *args, **kwargs) if reader else None


def _conv(
    output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Operation:
    sizes = tuple(weight.shape[2:])
    if padding == "valid":
        padding = 0
    elif padding == "same":
        padding = tuple(step * (size - 1) // 2 for step, size in zip(_pair(dilation), sizes, strict=True))
    windows = _windows(input, sizes, stride, padding, dilation)
    text = _filter(windows) + (f", {groups} groups" if groups > 1 else "")
    price = output[0].numel() * weight[0].numel()
    return Operation("conv", f"CONV{_by(sizes)}-{weight.shape[0]}", text, price, windows)


def _linear(output: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Operation:
    return Operation("fc", f"FC {weight.shape[0]}", "", output[0].numel() * weight.shape[1])


def _max_pool(
    output: Tensor,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Operation:
    sizes = _pair(kernel_size)
    windows = _windows(input, sizes, stride or sizes, padding, dilation, ceil_mode)
    return Operation("pool", f"POOL{_by(sizes)}", _filter(windows), 0, windows)


def _average_pool(
    output: Tensor,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *others: Any,
    **more: Any,
) -> Operation:
    sizes = _pair(kernel_size)
    windows = _windows(input, sizes, stride or sizes, padding, 1, ceil_mode)
    return Operation("pool", f"AVGPOOL{_by(sizes)}", _filter(windows), 0, windows)


def _adaptive(label: str) -> Callable[..., Operation | None]:
    def read(output: Tensor, input: Tensor, *sizes: Any, **named: Any) -> Operation | None:
        if output.shape == input.shape:  # it would have worked at another size of input; at this one it is no layer
            return None
        rows, columns = (AdaptiveWindow(*pair) for pair in zip(input.shape[2:], output.shape[2:], strict=True))
        text = f"{rows.size}x{columns.size}, adaptive to {output.shape[2]}x{output.shape[3]}"
        return Operation("pool", f"{label}{_by((rows.size, columns.size))}", text, 0, (rows, columns))

    return read


def _mean(output: Tensor, input: Tensor, *sizes: Any, **named: Any) -> Operation | None:
    """Over height and width it is global average pooling."""
    if input.dim() != 4 or output.shape[:2] != input.shape[:2] or output[0].numel() != input.shape[1]:
        return None
    sizes = tuple(input.shape[2:])
    windows = _windows(input, sizes, sizes, 0, 1)
    return Operation("pool", f"AVGPOOL{_by(sizes)}", _filter(windows), 0, windows)


def _norm(label: str) -> Callable[..., Operation]:
    def read(output: Tensor, *args: Any, **kwargs: Any) -> Operation:
        return Operation("norm", label)

    return read


def _add(output: Tensor, one: Any, other: Any, *args: Any, **kwargs: Any) -> Operation | None:
    """The sum of two feature maps, as at the end of a residual block; a bias or a constant is none."""
    both = isinstance(one, Tensor) and isinstance(other, Tensor) and one.dim() == other.dim() == output.dim() > 1
    return Operation("add", "ADD") if both else None


def _cat(output: Tensor, *args: Any, **kwargs: Any) -> Operation:
    return Operation("concat", "CONCAT")


def _pad(output: Tensor, input: Tensor, pad: Sequence[int], *args: Any, **kwargs: Any) -> Operation | None:
    """Of height and width; padding with channels of zeros moves no pixel."""
    left, _, top, _ = (*pad, 0, 0, 0, 0)[:4]
    if not left and not top:
        return None
    rows, columns = input.shape[2:]
    return Operation("pad", "PAD", "", 0, (Window(rows, 1, 1, top), Window(columns, 1, 1, left)))


_READERS: dict[str, Callable[..., Operation | None]] = {
    "conv2d": _conv,
    "linear": _linear,
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "adaptive_avg_pool2d": _adaptive("AVGPOOL"),
    "adaptive_max_pool2d": _adaptive("POOL"),
    "mean": _mean,
    "local_response_norm": _norm("NORM"),
    "batch_norm": _norm("BN"),
    "add": _add,
    "add_": _add,
    "cat": _cat,
    "concat": _cat,
    "pad": _pad,
}


def _windows(
    input: Tensor, sizes: Sequence[int], stride: Any, padding: Any, dilation: Any, ceil: bool = False
) -> tuple[Window, Window]:
    rows, columns = (
        Window(*numbers, ceil)
        for numbers in zip(input.shape[2:], sizes, _pair(stride), _pair(padding), _pair(dilation), strict=True)
    )
    return rows, columns


def _filter(windows: tuple[Window, Window]) -> str:
    """`11x11, stride 4`, `3x3, pad 1`: what is not said is as usual."""
    rows, columns = windows
    parts = [f"{rows.size}x{columns.size}"]
    for word, pair, usual in (
        ("stride", (rows.stride, columns.stride), 1),
        ("pad", (rows.padding, columns.padding), 0),
        ("dilation", (rows.dilation, columns.dilation), 1),
    ):
        if pair != (usual, usual):
            parts.append(f"{word} {_by(pair)}")
    return ", ".join(parts + ["ceil"] * rows.ceil)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return first, (rest or [first])[0]


def _by(pair: Sequence[int]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
