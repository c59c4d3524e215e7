"""LeNet-5's output layer: radial basis functions around fixed codes (LeCun et al. 1998, section II.B and Fig. 3)."""

import torch
from torch import Tensor, nn

_ROWS, _COLUMNS = 12, 7

_DIGITS = """
 .#####.  ...##..  ..####.  #######  ....##.  #######  ...###.  #######  .#####.  .#####.
 ##...##  ..###..  .##..##  .....##  ...###.  ##.....  ..##...  #.....#  ##...##  ##...##
 ##...##  .####..  ##...##  ....##.  ...###.  ##.....  .##....  .....##  ##...##  ##...##
 ##...##  ##.##..  .....##  ...##..  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
 ##..###  ...##..  .....##  ..####.  .##.##.  ##.###.  ##.###.  ....##.  .##.##.  ##...##
 ##.####  ...##..  ....##.  .....##  .##.##.  ###..##  ###..##  ....##.  ..###..  .##..##
 ####.##  ...##..  ...##..  .....##  ##..##.  .....##  ##...##  ...##..  .##.##.  ..#####
 ###..##  ...##..  ..##...  .....##  #######  .....##  ##...##  ...##..  ##...##  .....##
 ##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
 ##...##  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ....##.
 .#####.  .######  #######  .#####.  ....##.  .#####.  .#####.  .##....  .#####.  .####..
 .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""
"""The ten digits, 7 columns by 12 rows each."""


def codes(num_classes: int) -> Tensor:
    """(num_classes, 84), each component +1 or -1: what F6 should say for each class.

    For ten classes they are pictures of the digits, in the order of the labels, whatever the labels mean. For any other
    number they are random with equal probabilities, which the paper names as the other choice: always the same ones,
    from a seed of their own.
    """
    if num_classes == 10:
        rows = [line.split() for line in _DIGITS.split("\n") if line]
        return torch.tensor(
            [[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)]
        )
    draws = torch.Generator().manual_seed(1998)
    return 2.0 * torch.randint(2, (num_classes, _ROWS * _COLUMNS), generator=draws) - 1


class RadialBasis(nn.Module):
    """(N, 84) to scores (N, num_classes): minus the squared distance to each class's code. Nothing in it is trained."""

    codes: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("codes", codes(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.codes).square().sum(2)
