import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import InputError
from pipelines.visualization.activations import find_strongest
from tests.pipelines.visualization.networks import batches, black_images, blob_finder, classifier


def brute_force(outputs, feature_map, count):
    """(value, row, position) of the strongest, from all outputs at once."""
    best = []
    for row, output in enumerate(outputs[:, feature_map]):
        at = int(output.argmax())
        best.append((float(output.max()), row, divmod(at, output.shape[1])))
    return sorted(best, key=lambda one: -one[0])[:count]


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9))
def test_streaming_finds_what_brute_force_finds(images, batch, count):
    torch.manual_seed(images)
    model = classifier(torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.Linear(75, 2)))
    pixels = torch.randint(0, 256, (images, 7, 7, 1), dtype=torch.uint8)
    found = find_strongest(model, batches(pixels, batch), {"0": [2, 0]}, count)["0"]
    with torch.no_grad():
        outputs = model.network[0](model.normalised(pixels))
    for place, feature_map in enumerate(found.maps):
        expected = brute_force(outputs, feature_map, count)
        assert found.rows[place].tolist() == [row for _, row, _ in expected]
        assert [tuple(at) for at in found.positions[place].tolist()] == [at for _, _, at in expected]
        torch.testing.assert_close(found.values[place], torch.tensor([value for value, _, _ in expected]))
        assert torch.equal(found.images_of(place), pixels[found.rows[place]])


def test_of_equals_the_first_images_are_taken():
    images = black_images(*[(8, 8)] * 7)
    found = find_strongest(classifier(blob_finder()), batches(images, 3), {"relu": [0]}, 4)["relu"]
    assert found.rows.tolist() == [[0, 1, 2, 3]]


def test_an_image_counts_once():
    images = black_images((3, 3), (12, 12))
    images[0, 14:18, 14:18] = 255  # a second, smaller blob that excites more than nothing
    found = find_strongest(classifier(blob_finder()), batches(images, 2), {"relu": [0]}, 9)["relu"]
    assert sorted(found.rows[0].tolist()) == [0, 1]
    assert found.positions[0].tolist() == [[5, 5], [14, 14]]


def test_units_of_a_fully_connected_layer_have_one_position():
    found = find_strongest(classifier(blob_finder()), batches(black_images((3, 3)), 2), {"output": [0, 1]})["output"]
    assert found.positions.tolist() == [[[0, 0]], [[0, 0]]]


def test_the_images_are_copies_of_what_the_loader_uses_again():
    memory = black_images((3, 3), (9, 9))
    (batch,) = batches(memory, 2)

    def overwriting():
        yield batch
        batch.images.zero_()

    found = find_strongest(classifier(blob_finder()), overwriting(), {"relu": [0]})["relu"]
    assert all(image.max() == 255 for image in found.images.values())


def test_only_the_strongest_images_stay_in_memory():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (64, 24, 24, 1), dtype=torch.uint8)
    found = find_strongest(classifier(blob_finder()), batches(pixels, 8), {"relu": [0, 1]}, 3)["relu"]
    assert set(found.images) == set(found.rows.flatten().tolist())


def test_the_search_ends_after_so_many_images():
    images = black_images(*[(2 * place, 2 * place) for place in range(8)])
    given = batches(images, 3)
    found = find_strongest(classifier(blob_finder()), given, {"relu": [0]}, 9, most_images=5)["relu"]
    assert sorted(found.rows[0].tolist()) == [0, 1, 2, 3, 4]
    assert next(given).rows.tolist() == [6, 7, -1]  # nobody asked for this batch


def test_a_network_that_diverged_is_named():
    network = blob_finder()
    network.conv.weight.data.fill_(torch.nan)
    with pytest.raises(InputError, match="layer relu gives values that are no finite numbers"):
        find_strongest(classifier(network), batches(black_images((1, 1)), 1), {"relu": [0]})
