"""Windows that slide along one axis: how many fit, what becomes of the rest, and what each sees of the network's input.

N pixels, a filter of F, padding P at both ends and stride S make (N - F + 2P)/S + 1 outputs, which need not be whole.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """What a feature map's positions see along one axis of the input.

    Position i sees the pixels offset + i * stride to offset + i * stride + size - 1; those below 0 or beyond the image
    are padding.
    """

    size: float = 1
    stride: float = 1
    offset: float = 0

    def joined(self, other: "Field") -> "Field":
        """Of a sum or a concatenation: both."""
        offset = min(self.offset, other.offset)
        end = max(self.offset + self.size, other.offset + other.size)
        return Field(end - offset, max(self.stride, other.stride), offset)

    def over(self, positions: int) -> "Field":
        """Of something that looks at so many neighbouring positions at once, such as a fully connected layer."""
        return Field(self.size + (positions - 1) * self.stride, self.stride, self.offset)

    def shifted(self, positions: int) -> "Field":
        """After so many positions were put before the first."""
        return Field(self.size, self.stride, self.offset - positions * self.stride)


@dataclass(frozen=True)
class Window:
    """A filter or pooling window on its way along one axis of a feature map."""

    pixels: int
    size: int
    stride: int
    padding: int = 0
    dilation: int = 1
    ceil: bool = False
    """Round a number of outputs that is not whole up, not down."""

    @property
    def span(self) -> int:
        """Pixels from its first to its last, with the gaps of dilation."""
        return self.dilation * (self.size - 1) + 1

    @property
    def room(self) -> int:
        """N - F + 2P."""
        return self.pixels - self.span + 2 * self.padding

    @property
    def outputs(self) -> int:
        down = self.room // self.stride + 1
        return down + 1 if self.hangs_over else down

    @property
    def hangs_over(self) -> bool:
        """With `ceil`: a last window ends beyond the padding. PyTorch drops it if it starts beyond the pixels."""
        starts = (self.room // self.stride + 1) * self.stride - self.padding
        return self.ceil and self.room % self.stride > 0 and starts < self.pixels

    def field(self, before: Field) -> Field:
        """What an output sees of the network's input, given what an input of the window sees."""
        return Field(
            before.size + (self.span - 1) * before.stride,
            before.stride * self.stride,
            before.offset - self.padding * before.stride,
        )

    def rule(self) -> str:
        """The output-size rule with the numbers filled in, if the division leaves a rest; empty if it does not."""
        if self.room % self.stride == 0:
            return ""
        exact = f"{self.room / self.stride + 1:.4f}".rstrip("0")
        quotient = f"({self.pixels} - {self.span} + 2*{self.padding})/{self.stride} + 1"
        return f"{quotient} = {exact} is not whole; {self._rest()}"

    def _rest(self) -> str:
        left = self.room % self.stride
        if self.hangs_over:
            over = self.stride - left
            return (
                f"rounded up to {self.outputs}: the last window hangs over the edge by {over} and takes what is inside"
            )
        tried = "rounding up would start a window beyond the pixels, so it is " if self.ceil else ""
        unseen = left - self.padding
        if unseen > 0:
            last = "row and the last column" if unseen == 1 else f"{unseen} rows and columns"
            fate = f"the last {last} of its input are never seen"
        else:
            fate = f"{left} of the padding's {self.padding} at the right and bottom left over, no pixel is lost"
        return f"{tried}rounded down to {self.outputs}: {fate}"


@dataclass(frozen=True)
class AdaptiveWindow:
    """Pooling to a given number of outputs: output i averages the pixels floor(i N / n) to ceil((i + 1) N / n)."""

    pixels: int
    outputs: int

    def field(self, before: Field) -> Field:
        """Of the widest window."""
        return Field(
            before.size + (self._widest() - 1) * before.stride,
            before.stride * self.pixels / self.outputs,
            before.offset,
        )

    @property
    def size(self) -> int:
        return self._widest()

    def _widths(self) -> list[int]:
        n, pixels = self.outputs, self.pixels
        return [-(-(i + 1) * pixels // n) - i * pixels // n for i in range(n)]

    def _widest(self) -> int:
        return max(self._widths())

    def rule(self) -> str:
        """What becomes of a number of pixels that the number of outputs does not divide; empty if it does."""
        if self.pixels % self.outputs == 0:
            return ""
        narrowest, widest = min(self._widths()), self._widest()
        windows = f"{widest} pixels" if narrowest == widest else f"{narrowest} to {widest} pixels"
        return (
            f"{self.pixels}/{self.outputs} = {self.pixels / self.outputs:.2f} is not whole; adaptive pooling takes "
            f"windows of {windows}, some of which overlap: every pixel is seen, some more than once"
        )
