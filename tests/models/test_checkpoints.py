"""torchvision is not installed here: its modules' names and shapes are written down."""

import pytest
import torch

import models
from models.checkpoints import from_torchvision
from tests.models.counting import on_meta

VGG = {
    "vgg_a": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg_b": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg_d": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg_e": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}
RESNET = {
    "resnet18": ((2, 2, 2, 2), 1),
    "resnet34": ((3, 4, 6, 3), 1),
    "resnet50": ((3, 4, 6, 3), 4),
    "resnet101": ((3, 4, 23, 3), 4),
    "resnet152": ((3, 8, 36, 3), 4),
}


def weights_of(layers):
    """{module: (kind, shape)} to a state dict on the meta device."""
    state = {}
    for module, (kind, *shape) in layers.items():
        if kind == "bn":
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                state[f"{module}.{leaf}"] = torch.empty(*shape, device="meta")
            state[f"{module}.num_batches_tracked"] = torch.empty((), dtype=torch.long, device="meta")
        else:
            state[f"{module}.weight"] = torch.empty(*shape, device="meta")
            if kind == "biased":
                state[f"{module}.bias"] = torch.empty(shape[0], device="meta")
    return state


def torchvisions_vgg(column, batch_norm):
    layers, position, channels = {}, 0, 3
    for entry in column:
        if entry == "M":
            position += 1
            continue
        layers[f"features.{position}"] = ("biased", entry, channels, 3, 3)
        if batch_norm:
            layers[f"features.{position + 1}"] = ("bn", entry)
        position, channels = position + 2 + batch_norm, entry
    layers["classifier.0"] = ("biased", 4096, 512 * 7 * 7)
    layers["classifier.3"] = ("biased", 4096, 4096)
    layers["classifier.6"] = ("biased", 1000, 4096)
    return weights_of(layers)


def torchvisions_resnet(depths, expansion):
    layers, channels = {"conv1": ("conv", 64, 3, 7, 7), "bn1": ("bn", 64)}, 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for place in range(depth):
            block, out = f"layer{stage + 1}.{place}", width * expansion
            if expansion == 1:
                convolutions = [(width, channels, 3, 3), (width, width, 3, 3)]
            else:
                convolutions = [(width, channels, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
            for number, shape in enumerate(convolutions, start=1):
                layers[f"{block}.conv{number}"] = ("conv", *shape)
                layers[f"{block}.bn{number}"] = ("bn", shape[0])
            if channels != out or (stage and place == 0):
                layers[f"{block}.downsample.0"] = ("conv", out, channels, 1, 1)
                layers[f"{block}.downsample.1"] = ("bn", out)
            channels = out
    layers["fc"] = ("biased", 1000, 512 * expansion)
    return weights_of(layers)


def check_loads(network, renamed):
    network.load_state_dict(renamed, assign=True)  # which holds keys and shapes to the network's
    assert all(value is renamed[key] for key, value in network.state_dict(keep_vars=True).items() if "num_" in key)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", VGG)
def test_torchvisions_vgg_loads(name, batch_norm):
    theirs = torchvisions_vgg(VGG[name], batch_norm)
    renamed = from_torchvision(name, theirs)
    check_loads(on_meta(name, batch_norm=batch_norm), renamed)
    assert list(map(id, renamed.values())) == list(map(id, theirs.values()))
    assert list(renamed) == list(on_meta(name, batch_norm=batch_norm).state_dict())  # in order: no two were swapped


@pytest.mark.parametrize("name", RESNET)
def test_torchvisions_resnet_loads(name):
    theirs = torchvisions_resnet(*RESNET[name])
    renamed = from_torchvision(name, theirs)
    check_loads(on_meta(name), renamed)
    assert renamed["conv3_x.0.shortcut.conv.weight"] is theirs["layer2.0.downsample.0.weight"]
    assert renamed["conv5_x.1.branch.conv2.weight"] is theirs["layer4.1.conv2.weight"]
    assert list(renamed) == list(on_meta(name).state_dict())


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "vgg_c", "plain18", "resnet20"])
def test_other_architectures_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: torchvision has no network of this architecture; vgg_a, vgg_b"):
        from_torchvision(name, {})


def test_another_networks_weights_are_refused():
    with pytest.raises(ValueError, match="resnet34: the weights are another network's"):
        from_torchvision("resnet34", torchvisions_resnet(*RESNET["resnet18"]))
    with pytest.raises(ValueError, match="vgg_d: the weights are another network's"):
        from_torchvision("vgg_d", torchvisions_vgg(VGG["vgg_e"], batch_norm=False))


def test_names_of_the_mapping_are_real_networks():
    assert {*VGG, *RESNET} <= set(models.names())
