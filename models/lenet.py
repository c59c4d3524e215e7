"""LeNet-5: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (1998), Fig. 2."""

from collections import OrderedDict

from torch import nn


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
