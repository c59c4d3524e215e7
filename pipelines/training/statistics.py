"""Batch normalisation over the images of all workers."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def convert(model: nn.Module, layer: type[_BatchNorm]) -> None:
    """Make every two-dimensional batch normalisation of the model one of the class `layer`, in place.

    The parameters and running statistics stay the same objects, under the same names.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                converted = layer(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                for key, tensor in (child._parameters | child._buffers).items():
                    setattr(converted, key, tensor)
                setattr(module, name, converted.train(child.training))
