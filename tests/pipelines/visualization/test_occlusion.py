import pytest
import torch

from pipelines.visualization.occlusion import occlude
from tests.pipelines.visualization.networks import black_images, blob_finder, classifier


def occluded(blob, size, stride, batch=64):
    model = classifier(blob_finder())
    image = model.normalised(black_images(blob))[0]
    return occlude(model.network, image, size, stride, "relu", 0, batch)


def test_the_probability_is_lowest_where_the_object_is():
    """A square as large as the object: only centred on it does it hide it whole."""
    seen = occluded((14, 3), size=5, stride=1)
    of_class = seen.probabilities[:, :, 0]
    assert of_class.shape == (24, 24)
    lowest = divmod(int(of_class.argmin()), 24)
    assert lowest == (16, 5)
    assert of_class[16, 5] < 0.51
    assert of_class[4, 20] == of_class.max() > 0.9


def test_so_is_the_activation_of_the_map_that_sees_it():
    seen = occluded((14, 3), size=5, stride=1)
    assert seen.activations[16, 5] == 0
    assert seen.activations[4, 20] == seen.activations.max() > 0


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_places_cover_the_image_in_steps_of_the_stride(stride):
    seen = occluded((10, 10), size=6, stride=stride)
    assert seen.activations.shape == (24 // stride, 24 // stride)
    assert seen.probabilities.shape == (24 // stride, 24 // stride, 2)


def test_the_square_stands_over_the_centre_of_its_block():
    """One pixel covered, in steps of 3: the blob at rows 9 to 13 has the centres 10 and 13 of the blocks 3 and 4."""
    seen = occluded((9, 9), size=1, stride=3)
    changed = (seen.activations < seen.activations.max()).nonzero().tolist()
    assert changed == [[3, 3], [3, 4], [4, 3], [4, 4]]


def test_the_size_of_batches_changes_nothing():
    one, other = occluded((14, 3), 5, 2, batch=7), occluded((14, 3), 5, 2, batch=1000)
    torch.testing.assert_close(one.probabilities, other.probabilities)
    torch.testing.assert_close(one.activations, other.activations)


def test_the_most_probable_class_changes_where_the_object_is_hidden():
    seen = occluded((14, 3), size=5, stride=1)
    assert seen.classes[4, 20] == 0
    assert seen.classes.shape == (24, 24)
