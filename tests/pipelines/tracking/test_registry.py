import subprocess
import sys

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import models
from models.classifier import Classifier
from models.ensemble import Ensemble
from pipelines.config import ImageSettings, Pad, TrackingSettings
from pipelines.dataset.logged_model import ModelMetadata
from pipelines.tracking.registry import register_ensemble
from pipelines.tracking.tracker import MlflowTracker

LOAD = """
import sys, mlflow, numpy as np
uri, model, images, answers = sys.argv[1:]
mlflow.set_tracking_uri(uri)
np.save(answers, mlflow.pyfunc.load_model(model).predict(np.load(images)))
assert not {"models", "pipelines"} & sys.modules.keys()
"""


@pytest.mark.filterwarnings("ignore:.*Any type hint")  # of MLflow, about its own wrapper
def test_the_champion_answers_in_a_fresh_process_and_falls_to_a_better_one_alone(tmp_path):
    settings = TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=tmp_path / "artifacts")
    torch.manual_seed(0)
    images = torch.randint(0, 256, (5, 32, 32, 1), dtype=torch.uint8)
    members = [Classifier(models.create("lenet5_modern", 5, 1), [0.3], [0.2 + n / 10]).eval() for n in range(2)]
    model = Ensemble(members, [0.5, 0.5], of_logits=False).eval()

    metadata = ModelMetadata(
        image=ImageSettings(channels=1),
        transforms=(Pad(kind="pad", size=32),),
        class_names=tuple("abcde"),
        output="probabilities",
        dataset_digest="d",
    )

    def register(error, dataset="d"):
        tracker = MlflowTracker.begin(settings, "pair")
        return register_ensemble(settings, tracker.run_id, "pair", model, images[:2], metadata, error, dataset)

    assert [register(0.2).is_champion, register(0.3).is_champion, register(0.1).is_champion] == [True, False, True]
    client = MlflowClient(settings.uri)
    assert str(client.get_model_version_by_alias("pair", "champion").version) == "3"
    np.save(tmp_path / "images.npy", images.numpy())
    script, answers = tmp_path / "load.py", tmp_path / "answers.npy"
    script.write_text(LOAD)
    subprocess.run(
        [sys.executable, script, settings.uri, "models:/pair@champion", tmp_path / "images.npy", answers],
        check=True,
        cwd=tmp_path,
    )
    np.testing.assert_allclose(np.load(answers), model(images).detach().numpy(), atol=1e-6)
