import io
import json
import os
import pickle
import re

import mlflow
import pytest
import torch
from mlflow import MlflowClient

import models
from models.classifier import Classifier
from models.ensemble import Ensemble
from pipelines.config import CentreCrop, ImageSettings, InputError, TrackingSettings
from pipelines.dataset.logged_model import ModelMetadata, metadata_of
from pipelines.tracking.logged_model import fetch_model
from pipelines.tracking.registry import register_ensemble
from pipelines.tracking.tags import KIND_TAG
from pipelines.tracking.tracker import MlflowTracker
from tests.hostile import by_torch, members_of

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint")  # of MLflow, about its own wrapper

METADATA = ModelMetadata(
    image=ImageSettings(channels=1, size=40),
    transforms=(CentreCrop(kind="centre_crop", size=32),),
    class_names=tuple("abcde"),
    output="probabilities",
    dataset_digest="d",
)
IMAGES = torch.zeros((2, 32, 32, 1), dtype=torch.uint8)


def classifier():
    return Classifier(models.create("lenet5_modern", 5, 1), [0.3], [0.2]).eval()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts")


@pytest.fixture(scope="module")
def pair(settings):
    """Two versions of models:/pair, of which the first is the champion."""
    for error in (0.1, 0.2):
        tracker = MlflowTracker.begin(settings, "pair")
        model = Ensemble([classifier(), classifier()], [0.5, 0.5], of_logits=False)
        register_ensemble(settings, tracker.run_id, "pair", model, IMAGES, METADATA, error, "d")


@pytest.mark.parametrize(("wanted", "uri"), [("pair@champion", "pair/1"), ("pair/2", "pair/2")])
def test_a_registered_model_says_which_version_it_is_and_how_images_become_its_input(
    settings, pair, tmp_path, wanted, uri
):
    model = fetch_model(settings, f"models:/{wanted}", tmp_path)
    assert (model.uri, model.metadata, model.input_shape) == (f"models:/{uri}", METADATA, (32, 32, 1))
    assert torch.export.load(model.graph).module()(IMAGES).shape == (2, 5)


def test_a_finished_training_is_known_by_its_name_its_id_and_its_runs_address(settings, tmp_path):
    tracker = MlflowTracker.begin(settings, "some training")
    tracker.log_tags({KIND_TAG: "training", "strata.checkpoint": "c.pt", "strata.dataset_digest": "d"})
    tracker.log_parameters({"dataset": "somewhere"})
    logits = METADATA.model_copy(update={"output": "logits"})
    tracker.log_model(classifier(), IMAGES, logits)
    tracker.finish()
    for number, wanted in enumerate(("some training", tracker.run_id, f"runs:/{tracker.run_id}/model")):
        model = fetch_model(settings, wanted, tmp_path / str(number))
        assert (model.uri, model.metadata) == (f"runs:/{tracker.run_id}/model", logits)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("models:/pair/7", "model = models:/pair/7: no such model in sqlite:.*; there are models:/pair@champion"),
        ("models:/pair@best", "there are models:/pair@champion"),
        ("models:/par@champion", "there are models:/pair@champion"),
        ("models:/pair/x", "there are models:/pair@champion"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "cannot be fetched"),
        ("no training", "no finished training no training|no training is finished yet"),
    ],
)
def test_a_model_that_is_not_there_is_answered_with_those_that_are(settings, pair, tmp_path, wanted, message):
    with pytest.raises(InputError, match=message):
        fetch_model(settings, wanted, tmp_path)


def test_a_model_that_does_not_say_how_images_become_its_input_is_refused(settings, tmp_path):
    tracker = MlflowTracker.begin(settings, "older")
    with mlflow.start_run(run_id=tracker.run_id):
        mlflow.pytorch.log_model(
            classifier(), name="model", input_example=IMAGES.numpy(), serialization_format="pt2",
            signature=mlflow.models.infer_signature(IMAGES.numpy()),
        )  # fmt: skip
    with pytest.raises(InputError, match="does not say how an image file becomes its input; train again"):
        fetch_model(settings, f"runs:/{tracker.run_id}/model", tmp_path)


class _Runs:
    """Code that would run when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-run",)


def pickled_by_torch():
    file = io.BytesIO()
    torch.save((_Runs(),), file)
    return file.getvalue()


@pytest.fixture
def graph(settings, pair):
    """Of models:/pair/2, as it was again afterwards."""
    logged = MlflowClient(settings.uri).get_model_version("pair", "2")
    graph = next(settings.artifacts.rglob(f"*{logged.source.rpartition('/')[2]}*/**/model.pt2"))
    content = graph.read_bytes()
    yield graph
    graph.write_bytes(content)


HERE = "__import__('os').mkdir('was-run')"
WITHOUT_DOTS = 'getattr(__import__("os"), "mkdir")("was-run"))'
OF_TORCH = "torch.ops.aten.relu.default"


def nodes(tree):
    return tree["graph_module"]["graph"]["nodes"]


def size(tree):
    """Where a tensor's symbolic size stands."""
    values = tree["graph_module"]["graph"]["tensor_values"].values()
    return next(one["as_expr"] for value in values for one in value["sizes"] if "as_expr" in one)


def named(tree):
    node = next(node for node in nodes(tree) if node["target"] == OF_TORCH)
    node["target"] = "torch.os.mkdir"
    node["inputs"] = [{"name": "path", "arg": {"as_string": "was-run"}, "kind": 1}]


def of_tree(change):
    """What changes JSON's tree in place, of its bytes."""

    def changed(content):
        tree = json.loads(content)
        change(tree)
        return json.dumps(tree).encode()

    return changed


def of_names(pattern, name):
    """torch makes a function of the graph, with its names, and has Python read it."""
    return lambda content: re.sub(f'"{pattern}"'.encode(), lambda _: json.dumps(name).encode(), content)


def in_graph(change):
    return {"models/model.json": of_tree(change)}


of_a_weight = of_names(r"members\.0\.network\.c1\.weight", f'members.0.network.c1.x", {WITHOUT_DOTS}#')
GRAPHS = {
    "its pickle": {"data/sample_inputs/model.pt": lambda _: pickled_by_torch()},
    "a pickle in place of torch's": {"data/sample_inputs/model.pt": lambda _: pickle.dumps(_Runs())},
    "a symbolic size": in_graph(lambda tree: size(tree).update(expr_str=HERE)),
    "a guard": in_graph(lambda tree: tree.update(guards_code=[HERE])),
    "an operation": in_graph(named),
    "an unverified operation": in_graph(lambda tree: (named(tree), tree.update(verifiers=[]))),
    "a method of Python's": in_graph(lambda tree: nodes(tree)[0].update(target="torch.ops.aten.__init__.__call__")),
    "an operation that writes": in_graph(lambda tree: nodes(tree)[0].update(target="torch.ops.aten.save.default")),
    "no word of who verifies": in_graph(lambda tree: tree.pop("verifiers")),
    "the name of its input": {"models/model.json": of_names("images_nhwc", f"images_nhwc={HERE}")},
    "the name of a weight": {"models/model.json": of_a_weight, "data/weights/model_weights_config.json": of_a_weight},
}


@pytest.mark.attack
@pytest.mark.parametrize("payload", GRAPHS)
def test_a_graph_that_would_run_code_is_not_loaded(settings, graph, tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    members = members_of(graph.read_bytes())
    graph.write_bytes(by_torch(members | {name: how(members[name]) for name, how in GRAPHS[payload].items()}))
    refusals = "its pickle names|not a zip file|which no graph of our networks has"
    with pytest.raises(InputError, match=f"models:/pair/2 cannot be loaded: .*({refusals})"):
        fetch_model(settings, "models:/pair/2", tmp_path / "model")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.attack
def test_a_pickle_does_not_run_where_mlflow_may_unpickle(settings, graph, tmp_path, monkeypatch):
    """MLFLOW_ALLOW_PICKLE_DESERIALIZATION says what a user allows to MLflow; models of ours need none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    graph.write_bytes(by_torch(members_of(graph.read_bytes()) | {"data/sample_inputs/model.pt": pickled_by_torch()}))
    with pytest.raises(InputError, match=r"cannot be loaded: .*its pickle names \w+ mkdir"):
        fetch_model(settings, "models:/pair/2", tmp_path / "model")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.attack
def test_what_else_lies_with_a_model_is_not_run(settings, graph, tmp_path):
    """MLflow would put the model's `code` where Python looks for modules, and import what is to unpickle model.pth."""
    trap, model = tmp_path / "was-run", graph.parent.parent
    described = (model / "MLmodel").read_text()
    planted = [graph.with_name("model.pth"), graph.with_name("pickle_module_info.txt"), model / "code" / "planted.py"]
    planted[2].parent.mkdir()
    for path, text in zip(planted, ("x", "planted", f"open({str(trap)!r}, 'w')"), strict=True):
        path.write_text(text)
    try:
        without = re.sub(r"^    code: null\n", "", described, flags=re.MULTILINE)
        (model / "MLmodel").write_text(without.replace("  pytorch:\n", "  pytorch:\n    code: code\n"))
        assert fetch_model(settings, "models:/pair/2", tmp_path / "model").metadata == METADATA
    finally:
        (model / "MLmodel").write_text(described)
        for path in planted:
            path.unlink()
    assert not trap.exists()


def test_the_metadata_are_those_of_the_dataset_and_the_validation(digits):
    crop = (CentreCrop(kind="centre_crop", size=28),)
    metadata = metadata_of(digits.manifest, crop, "logits")
    assert (metadata.image.channels, metadata.image.format, metadata.transforms) == (1, "png", crop)
    assert metadata.class_names == tuple(digits.manifest.class_names)
