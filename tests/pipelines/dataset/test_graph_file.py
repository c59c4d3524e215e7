import pytest
import torch

import models
from models.classifier import Classifier
from models.ensemble import Ensemble
from pipelines.config import CentreCrop, ImageSettings
from pipelines.dataset.graph_file import load_graph
from pipelines.dataset.logged_model import ModelMetadata
from pipelines.tracking.model import save_model
from tests.models.test_networks import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint")  # of MLflow, about its own wrapper

METADATA = ModelMetadata(
    image=ImageSettings(channels=1, size=40),
    transforms=(CentreCrop(kind="centre_crop", size=32),),
    class_names=tuple("abcde"),
    output="logits",
    dataset_digest="d",
)
NETWORKS = SMALL | {
    "lenet5": (32, {}),
    "lenet5 in the competition": (32, {"competition": True}),
    "lenet5_modern": (32, {}),
    "vgg_a": (32, {"dropout": 0.0}),
    "zfnet_large": (64, {}),
    "googlenet alone": (80, {"auxiliary": False}),
    "fully_connected to the classes": (8, {"hidden": [], "bias": False}),
}


def classifier(name):
    side, options = NETWORKS[name]
    return Classifier(models.create(name.split()[0], 5, 1, side, **options), [0.3], [0.2]).eval(), side


def assert_loads(model, side, folder):
    images = torch.randint(0, 256, (3, side, side, 1), dtype=torch.uint8)
    save_model(model, images[:2], METADATA, folder / "model")
    with torch.no_grad():
        torch.testing.assert_close(load_graph(folder / "model" / "data" / "model.pt2")(images), model(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_ours_has_nothing_that_a_graph_may_not_have(name, tmp_path):
    assert_loads(*classifier(name), tmp_path)


@pytest.mark.parametrize("of_logits", [True, False])
def test_an_ensemble_of_different_networks_has_nothing_that_a_graph_may_not_have(of_logits, tmp_path):
    members = [classifier("lenet5_modern")[0], classifier("vgg_c")[0], classifier("plain18")[0]]
    assert_loads(Ensemble(members, [0.5, 0.25, 0.25], of_logits).eval(), 32, tmp_path)
