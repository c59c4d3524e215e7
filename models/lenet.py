"""LeNet-5: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (1998), Fig. 2."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from models.rbf import RadialBasis

TABLE_I = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""For each of C3's 16 maps, the maps of S2 that it sees."""


class Squash(nn.Module):
    """The paper's sigmoid, A tanh(S a) with A = 1.7159 and S = 2/3: it takes 1 to 1 and -1 to -1 (Appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The sum of 2 x 2 pixels, times a map's coefficient, plus the map's bias: (N, maps, 2H, 2W) to (N, maps, H, W)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_paper_uniform((maps, 1, 1), inputs=4))
        self.bias = nn.Parameter(_paper_uniform((maps, 1, 1), inputs=4))

    def forward(self, x: Tensor) -> Tensor:
        return 4 * avg_pool2d(x, 2) * self.weight + self.bias


class PartialConvolution(nn.Module):
    """A convolution whose output maps see some of the input maps; weights exist for these alone.

    inputs: for each output map, the input maps that it sees.
    """

    _to: Tensor
    _from: Tensor

    def __init__(self, inputs: tuple[tuple[int, ...], ...], size: int) -> None:
        super().__init__()
        self._shape = len(inputs), 1 + max(map(max, inputs)), size, size
        areas = [len(seen) * size**2 for seen in inputs]
        kernels = [_paper_uniform((len(seen), size, size), area) for seen, area in zip(inputs, areas, strict=True)]
        self.weight = nn.Parameter(torch.cat(kernels))
        self.bias = nn.Parameter(torch.cat([_paper_uniform((1,), area) for area in areas]))
        self.register_buffer("_to", torch.tensor([to for to, seen in enumerate(inputs) for _ in seen]), False)
        self.register_buffer("_from", torch.tensor([map_ for seen in inputs for map_ in seen]), False)

    def forward(self, x: Tensor) -> Tensor:
        full = self.weight.new_zeros(self._shape).index_put((self._to, self._from), self.weight)
        return conv2d(x, full, self.bias)


class LeNet5(nn.Sequential):
    """The published layers with the paper's loss: images to scores, each minus a penalty of Eq. 7.

    rubbish: the penalty j of Eq. 9's rubbish class; None: Eq. 8, which has none.
    """

    def __init__(self, layers: OrderedDict[str, nn.Module], rubbish: float | None = None) -> None:
        super().__init__(layers)
        self._rubbish = rubbish

    def loss(self, scores: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean of Eq. 8 over the batch, or of Eq. 9 where there is a rubbish class.

        label_smoothing is ours: the share of a label's pull that goes to the codes of all classes evenly.
        """
        of_label = scores.gather(1, labels[:, None]).squeeze(1)
        pull = -(1 - label_smoothing) * of_label - label_smoothing * scores.mean(1)
        if self._rubbish is None:
            return pull.mean()
        of_rubbish = scores.new_full((len(scores), 1), -self._rubbish)
        return (pull + torch.cat([of_rubbish, scores], 1).logsumexp(1)).mean()


def lenet5(num_classes: int, in_channels: int, *, competition: bool = False) -> nn.Module:
    """LeNet-5 as published: section II.B, Fig. 2 and Table I, 60,000 trainable parameters, 340,908 connections.

    Scores are minus the squared distances between F6 and each class's code, so that the largest is the nearest; the
    loss is the mean squared error of Eq. 8, the distance to the label's code.

    Deviations: the codes of `models/rbf.py` are drawn in the manner of Fig. 3, not copied from it. Pixels have mean 0
    and variance 1 over the dataset; the paper has -0.1 for background and 1.175 for ink, for about the same. The
    optimizer is whatever trains it; the paper's is stochastic diagonal Levenberg-Marquardt.

    competition: the maximum a posteriori criterion of Eq. 9 as the loss, which also pushes other classes' codes away.
    The paper gives no value for the penalty j of its rubbish class; it is 10 here.
    """
    return LeNet5(_published(num_classes, in_channels), rubbish=10.0 if competition else None)


def _published(num_classes: int, in_channels: int) -> OrderedDict[str, nn.Module]:
    """(N, in_channels, 32, 32) to scores (N, num_classes)."""
    return OrderedDict(
        c1=_paper_init(nn.Conv2d(in_channels, 6, 5)),  #  28 x 28 x 6
        c1_squash=Squash(),
        s2=Subsampling(6),  #                             14 x 14 x 6
        s2_squash=Squash(),
        c3=PartialConvolution(TABLE_I, 5),  #             10 x 10 x 16
        c3_squash=Squash(),
        s4=Subsampling(16),  #                             5 x 5 x 16
        s4_squash=Squash(),
        c5=_paper_init(nn.Conv2d(16, 120, 5)),  #          1 x 1 x 120
        c5_squash=Squash(),
        flatten=nn.Flatten(),
        f6=_paper_init(nn.Linear(120, 84)),
        f6_squash=Squash(),
        output=RadialBasis(num_classes),
    )


def _paper_uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
    """Even over -2.4 / F to 2.4 / F for units of F inputs (Appendix A)."""
    return torch.empty(shape).uniform_(-2.4 / inputs, 2.4 / inputs)


def _paper_init(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(_paper_uniform(tuple(parameter.shape), layer.weight[0].numel()))
    return layer


def lenet5_modern(num_classes: int, in_channels: int) -> nn.Module:
    """LeNet-5 as it is taught today: (N, in_channels, 32, 32) to logits; 61,706 parameters for ten classes, grey.

    Deviations from the paper: C3 sees all six maps of S2, not Table I's selection; S2 and S4 are max pooling without
    weights; rectifiers, not scaled tanh; a linear output layer, not radial basis functions; PyTorch's initialisation.
    """
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(in_channels, 6, 5),  #  28 x 28 x 6
            c1_relu=nn.ReLU(),
            s2=nn.MaxPool2d(2),  #               14 x 14 x 6
            c3=nn.Conv2d(6, 16, 5),  #           10 x 10 x 16
            c3_relu=nn.ReLU(),
            s4=nn.MaxPool2d(2),  #                5 x 5 x 16
            c5=nn.Conv2d(16, 120, 5),  #          1 x 1 x 120
            c5_relu=nn.ReLU(),
            flatten=nn.Flatten(),
            f6=nn.Linear(120, 84),
            f6_relu=nn.ReLU(),
            output=nn.Linear(84, num_classes),
        )
    )
