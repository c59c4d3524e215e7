import numpy as np
import pytest
import torch
from torch import nn

from models.classifier import Classifier
from models.heads import Head
from pipelines.config import TrainSettings
from pipelines.training.mixing import CutMix, Mixed, Mixing, MixUp, box, make_mix

LANES, ROWS = 8, 3
ONE_EACH = {"mixup_alpha": 1.0, "cutmix_alpha": 1.0}


def mix_of(seed=0, **mixing):
    return make_mix(
        TrainSettings.model_validate(
            {"dataset": "d", "model": {"name": "m"}, "seed": seed, "mixing": mixing}
            | {"loader": {"global_batch": LANES * ROWS, "lanes": LANES}}
        )
    )


def partner(row):
    """The one before in the row's lane, and the lane's last for its first."""
    lane, place = divmod(row, ROWS)
    return lane * ROWS + (place - 1) % ROWS


def noise(height=6, width=10):
    return torch.randint(0, 256, (LANES * ROWS, height, width, 3), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


LABELS = torch.arange(LANES * ROWS)


def own_share(mixed):
    """The share of the class that is the image's own: here every image has a class of its own."""
    (share,) = [share for share, labels in mixed.shares if torch.equal(labels, LABELS)]
    return share


@pytest.mark.parametrize("mixing", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, ONE_EACH])
@pytest.mark.parametrize("workers", [2, 4])
def test_a_global_batch_is_mixed_alike_by_any_number_of_workers(mixing, workers):
    images, mix = noise(), mix_of(**mixing)
    for step in range(8):
        whole = mix(images, LABELS, step)
        for rank in range(workers):
            rows = [lane * ROWS + place for lane in range(rank, LANES, workers) for place in range(ROWS)]
            part = mix(images[rows], LABELS[rows], step)
            assert torch.equal(part.images, whole.images[rows])
            for (share, labels), (whole_share, whole_labels) in zip(part.shares, whole.shares, strict=True):
                assert share == whole_share
                assert torch.equal(labels, whole_labels[rows])


@pytest.mark.parametrize("step", range(6))
def test_mixup_is_the_papers_sum_pixel_by_pixel(step):
    images = noise(2, 2)
    mixed = mix_of(mixup_alpha=1.0)(images, LABELS, step)
    share, pixels = own_share(mixed), images.numpy().astype(np.float64)
    expected = np.empty_like(pixels)
    for row in range(len(pixels)):
        expected[row] = share * pixels[row] + (1 - share) * pixels[partner(row)]
    np.testing.assert_allclose(mixed.images.numpy(), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("step", range(6))
def test_cutmix_pastes_one_box_and_shares_labels_by_its_real_area(step):
    images = LABELS.to(torch.uint8)[:, None, None, None].expand(-1, 20, 30, 3).contiguous()
    mixed = mix_of(cutmix_alpha=1.0)(images, LABELS, step)
    pasted = mixed.images.numpy()[0, :, :, 0] != 0
    expected = images.numpy().copy()
    for row in range(len(expected)):
        for y, x in np.argwhere(pasted):
            expected[row, y, x] = images[partner(row), y, x].numpy()
    np.testing.assert_array_equal(mixed.images.numpy(), expected)
    assert mixed.images.dtype == torch.uint8
    assert np.array_equal(pasted, np.outer(pasted.any(1), pasted.any(0)))
    assert own_share(mixed) == pytest.approx(1 - pasted.mean())


@pytest.mark.parametrize("mixing", [{"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}])
def test_labels_go_with_their_images_the_largest_share_first(mixing):
    mix, own = mix_of(**mixing), []
    for step in range(40):
        mixed = mix(noise(), LABELS, step)
        (larger, labels), (smaller, others) = mixed.shares
        assert larger >= smaller
        assert larger + smaller == 1
        assert mixed.labels is labels
        partners = others if torch.equal(labels, LABELS) else labels
        assert partners.tolist() == [partner(row) for row in range(len(LABELS))]
        own.append(torch.equal(labels, LABELS))
    assert 5 < sum(own) < 40


def test_the_images_of_a_batch_are_left_as_they_were():
    images = noise()
    before = images.clone()
    for step in range(8):
        mix_of(**ONE_EACH)(images, LABELS, step)
    assert torch.equal(images, before)


def test_to_blend_pixels_is_to_blend_what_the_network_gets():
    images, classifier = noise(), Classifier(nn.Identity(), (0.1, 0.45, 0.8), (0.2, 0.25, 0.3))
    partners = images.roll(1, 0)
    blend, share = MixUp(1.0)(images, partners, np.random.default_rng(0))
    expected = share * classifier(images) + (1 - share) * classifier(partners)
    torch.testing.assert_close(classifier(blend), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixups_shares_are_drawn_from_the_beta_distribution(alpha):
    images, mix = noise(1, 1), mix_of(mixup_alpha=alpha)
    shares = np.array([own_share(mix(images, LABELS, step)) for step in range(3000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_a_draw_belongs_to_its_seed_and_step():
    images = noise()
    shares = {
        own_share(mix_of(seed, mixup_alpha=1.0)(images, LABELS, step)) for seed in (0, 1) for step in (0, 1, 2**40)
    }
    assert len(shares) == 6
    assert own_share(mix_of(1, mixup_alpha=1.0)(images, LABELS, 2**40)) in shares


def test_with_both_each_step_does_one_of_them_with_equal_probability():
    images, mix = noise(4, 4), mix_of(**ONE_EACH)
    blended = sum(mix(images, LABELS, step).images.is_floating_point() for step in range(1000))
    assert 440 < blended < 560


def test_a_box_has_the_papers_size_and_a_centre_anywhere():
    draws, height, width = np.random.default_rng(0), 102, 60
    tall, wide = 51, 30  # sqrt(1 - 0.75) of the image's sides
    boxes = [box(0.75, height, width, draws) for _ in range(4000)]
    sizes = np.array([(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in boxes])
    assert sizes.max(0).tolist() == [tall, wide]
    for side, length, mean in ((tall, height, sizes[:, 0].mean()), (wide, width, sizes[:, 1].mean())):
        starts = [centre - side // 2 for centre in range(length)]
        clipped = [min(length, start + side) - max(0, start) for start in starts]
        assert mean == pytest.approx(np.mean(clipped), rel=0.02)
    assert min(rows.start for rows, _ in boxes) == 0
    assert max(columns.stop for _, columns in boxes) == width


def test_a_share_of_one_pastes_nothing():
    rows, columns = box(1.0, 7, 9, np.random.default_rng(0))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (0, 0)


def test_without_mixing_a_batch_is_trained_on_as_it_is():
    images = noise()
    assert mix_of()(images, LABELS, 3) == Mixed(images, ((1.0, LABELS),))


def test_the_ways_wanted_are_the_ways_taken():
    assert mix_of(mixup_alpha=0.2, cutmix_alpha=1.0) == Mixing((MixUp(0.2), CutMix(1.0)), ROWS, 0)
    assert mix_of(seed=7, cutmix_alpha=0.5) == Mixing((CutMix(0.5),), ROWS, 7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [1.0, 0.7])
def test_the_loss_is_cross_entropy_with_shared_and_smoothed_labels(share, smoothing):
    classes = 5
    logits, labels, others = torch.randn(9, classes), torch.randint(classes, (9,)), torch.randint(classes, (9,))
    log_p = logits.double().log_softmax(1).numpy()
    expected = 0.0
    for row in range(9):
        target = np.full(classes, smoothing / classes)
        target[labels[row]] += (1 - smoothing) * share
        target[others[row]] += (1 - smoothing) * (1 - share)
        expected -= (target * log_p[row]).sum() / 9
    mixed = Mixed(torch.empty(0), ((share, labels), (1 - share, others)))
    assert float(mixed.loss(logits, smoothing)) == pytest.approx(expected, rel=1e-5)


def test_every_heads_loss_counts_by_its_weight():
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    mixed = Mixed(torch.empty(0), ((0.75, torch.tensor([0, 1, 2])), (0.25, torch.tensor([3, 2, 1]))))
    expected = mixed.loss(first, 0.1) + 0.3 * mixed.loss(second, 0.1)
    torch.testing.assert_close(mixed.loss((Head(1.0, first), Head(0.3, second)), 0.1), expected)
