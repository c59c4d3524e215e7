"""What jobs/visualize.py shows of one model: which layers, maps and images, and the pictures of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from models.classifier import Classifier
from pipelines.config import InputError, VisualizeSettings
from pipelines.visualization import pictures
from pipelines.visualization.activations import NumberedImages, Strongest, find_strongest
from pipelines.visualization.deconvnet import project
from pipelines.visualization.layers import Layer, check_maps, choose_layers, first_weights, layers_of, outputs_of
from pipelines.visualization.occlusion import occlude
from pipelines.visualization.pictures import OccludedSubject, Subject
from pipelines.visualization.receptive_field import receptive_fields
from pipelines.visualization.saliency import saliency

STRONGEST = 9
"""Images of a feature map, and feature maps of a layer where none is named."""


@dataclass(frozen=True)
class Report:
    """Pictures of one model in evaluation, on its device.

    epoch: gives the validation images anew at every call. class_names: short ones, by label.
    """

    model: Classifier
    epoch: Callable[[], Iterable[NumberedImages]]
    class_names: Sequence[str]
    settings: VisualizeSettings

    def draw(self) -> Iterator[tuple[str, Figure]]:
        """Each picture with its name. Raises InputError before the first if a layer, map or image is not there."""
        images, labels = self._chosen_images()
        inputs = self.model.normalised(images)
        layers = choose_layers(layers_of(self.model.network, inputs[:1]), self.settings.layers)
        for layer in layers:
            check_maps(layer, self.settings.maps)
        size, stride = self._occluder(min(images.shape[1:3]))
        subjects = self._subjects(images, labels)
        yield "filters", pictures.draw_filters(*first_weights(self.model.network, inputs[:1]))
        outputs = self._outputs(inputs, layers)
        for number, subject in enumerate(subjects):
            shown = [(layer, outputs[layer.name][number]) for layer in layers]
            yield f"feature_maps-image{number}", pictures.draw_feature_maps(subject, shown)
        yield "saliency", pictures.draw_saliency(subjects, saliency(self.model.network, inputs, labels))
        last = layers[-1]
        occluded = [
            self._occluded(subject, image, last, output, size, stride)
            for subject, image, output in zip(subjects, inputs, outputs[last.name], strict=True)
        ]
        yield "occlusion", pictures.draw_occlusion(occluded, self.class_names)
        yield from self._strongest(layers, {layer.name: outputs[layer.name][0] for layer in layers})

    def _chosen_images(self) -> tuple[Tensor, Tensor]:
        """uint8 (N, H, W, C) and labels int64 (N,) of the images asked for, in their order."""
        wanted, rows = set(self.settings.images), 0
        found: dict[int | str, tuple[Tensor, Tensor]] = {}
        for batch in self.epoch():
            for place, key in enumerate(batch.keys):
                for name in (key, int(batch.rows[place])):
                    if key and name in wanted:  # copies, for the batch's memory is used again
                        found[name] = (batch.images[place].clone(), batch.labels[place].clone())
                rows += bool(key)
            if len(found) == len(wanted):
                images, labels = zip(*(found[name] for name in self.settings.images), strict=True)
                return torch.stack(images), torch.stack(labels)
        missing = ", ".join(repr(name) for name in self.settings.images if name not in found)
        raise InputError(f"images: no validation image {missing}; give keys, or places from 0 to {rows - 1}")

    def _occluder(self, side: int) -> tuple[int, int]:
        """Its size and stride for images of that shorter side."""
        size = self.settings.occluder_size or max(1, side // 4)
        stride = self.settings.occluder_stride or max(1, side // 32)
        for name, value in (("occluder_size", size), ("occluder_stride", stride)):
            if value > side:
                raise InputError(f"{name} = {value}: the images' shorter side is {side} pixels")
        return size, stride

    @torch.no_grad()
    def _subjects(self, images: Tensor, labels: Tensor) -> list[Subject]:
        best = self.model(images).softmax(1).max(1)
        return [
            Subject(image, label, f"label: {self.class_names[label]}\nanswer: {self.class_names[answer]} ({share:.0%})")
            for image, label, answer, share in zip(
                images, labels.tolist(), best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]

    @torch.no_grad()
    def _outputs(self, inputs: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
        with outputs_of(self.model.network, [layer.name for layer in layers]) as outputs:
            self.model.network(inputs)
        return outputs

    def _occluded(
        self, subject: Subject, image_CHW: Tensor, layer: Layer, output: Tensor, size: int, stride: int
    ) -> OccludedSubject:
        """The observed map is the one that the whole image excites most (the paper's section 4.2)."""
        network, feature_map = self.model.network, int(output.amax((1, 2)).argmax())
        maps, at = output.new_tensor([feature_map]).long(), output[feature_map].argmax()
        positions = torch.stack([at // layer.width, at % layer.width])[None]
        projection = project(network, image_CHW[None], layer.name, maps, positions)
        with torch.no_grad():
            probability = float(network(image_CHW[None]).softmax(1)[0, subject.label])
        seen = occlude(network, image_CHW, size, stride, layer.name, feature_map, self.settings.batch)
        name = f"map {feature_map} of {layer.name}"
        return OccludedSubject(subject, seen, size, probability, name, projection[0])

    def _strongest(self, layers: Sequence[Layer], excited: dict[str, Tensor]) -> Iterator[tuple[str, Figure]]:
        """excited: output (maps, h, w) of each layer for the first image."""
        maps = {layer.name: self.settings.maps or _most_excited(excited[layer.name]) for layer in layers}
        found = find_strongest(self.model, self.epoch(), maps, STRONGEST, self.settings.search_images)
        for layer in layers:
            of_layer = found[layer.name]
            projections, fields = self._projected(layer, of_layer)
            name = f"strongest-{layer.name}"
            yield name, pictures.draw_strongest(layer, of_layer, projections, fields)

    def _projected(self, layer: Layer, found: Strongest) -> tuple[list[Tensor], list[Tensor]]:
        network, device = self.model.network, self.model.mean.device
        projections, fields = [], []
        for place, number in enumerate(found.maps):
            inputs = self.model.normalised(found.images_of(place))
            positions = found.positions[place].to(device)
            maps = torch.full((len(inputs),), number, device=device)
            projections.append(project(network, inputs, layer.name, maps, positions))
            fields.append(receptive_fields(network, inputs.shape[1:], layer.name, positions))
        return projections, fields


def _most_excited(output: Tensor) -> tuple[int, ...]:
    """Numbers of the maps with the highest activations, in ascending order; without those that are switched off."""
    highest = output.amax((1, 2)).topk(min(STRONGEST, len(output)))
    active = highest.indices[highest.values != 0].tolist()
    return tuple(sorted(active or highest.indices.tolist()))
