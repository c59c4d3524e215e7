import re

import pytest

import models
from pipelines.command_line import explain, parse, parse_each, run
from pipelines.config import (
    EnsembleSettings,
    EvaluateSettings,
    InputError,
    PreprocessSettings,
    ScoreSettings,
    Settings,
    SummarizeSettings,
    SyncSettings,
    TrainSettings,
    VisualizeSettings,
)
from tests.conftest import REPOSITORY

TYPES: dict[str, type[Settings]] = {
    "preprocess": PreprocessSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "ensemble": EnsembleSettings,
    "visualize": VisualizeSettings,
    "score": ScoreSettings,
}
CONFS = sorted((REPOSITORY / "conf").rglob("*.yaml"))


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("dataset: data\nmodel: {name: lenet5_modern}\noptimizer: {lr: 0.5}\n")
    return str(path)


@pytest.mark.parametrize("path", CONFS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_conf_loads_and_opens_with_the_command_that_runs_it(path):
    parse(TYPES[path.parent.name], [str(path)])
    assert f"jobs/{path.parent.name}.py conf/{path.parent.name}/{path.name}" in path.read_text()


TRAININGS = [path for path in CONFS if path.parent.name == "train"]


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_every_training_names_a_network_there_is_and_says_what_it_should_reach(path):
    assert parse(TrainSettings, [str(path)]).model.name in models.names()
    (said,) = re.findall(r"Published, not measured here|Measured \d{4}-\d\d-\d\d|should reach", _heading(path))
    assert said


def _heading(path):
    lines = path.read_text().splitlines()
    return " ".join(line[1:].strip() for line in lines if line.startswith("#"))


def test_every_network_of_a_paper_has_a_training():
    trained = {parse(TrainSettings, [str(path)]).model.name for path in TRAININGS}
    assert set(models.names()) - trained == {"fully_connected"}


def test_there_are_confs_for_every_job():
    assert {path.parent.name for path in CONFS} == set(TYPES)


def test_defaults_then_file_then_overrides(conf):
    settings = parse(TrainSettings, [conf, "optimizer.momentum=0.5", "seed=7", "loader.train_transforms=[]"])
    assert (settings.optimizer.lr, settings.optimizer.momentum, settings.seed) == (0.5, 0.5, 7)
    assert settings.optimizer.weight_decay == 1e-4


def test_the_last_override_of_a_key_wins(conf):
    assert parse(TrainSettings, [conf, "seed=1", "seed=2"]).seed == 2


def test_settings_are_frozen(conf):
    with pytest.raises(ValueError, match="frozen"):
        parse(TrainSettings, [conf]).seed = 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["optimizer.momentun=0.5"],
            "command line: optimizer.momentun is no setting; did you mean optimizer.momentum?",
        ),
        (
            ["optimizer.momentun=0.5"],
            "Legal here: optimizer.kind, optimizer.lr, optimizer.lr_reference_batch, optimizer.m",
        ),
        (["optimizer.momentum=2"], "command line: optimizer.momentum = 2: it should be less than 1"),
        (["schedule.kind=cosin"], "it should be 'constant', 'cosine', 'step', 'multi_step', 'polynomial' or 'plateau'"),
        (["schedule.kind=multi_step"], "schedule.kind = multi_step needs schedule.milestones, such as [30, 60, 80]"),
        (["schedule.milestones=[30, 30]"], "schedule.milestones = [30, 30]: give epochs from 1 on, each later"),
        (["schedule.milestones=[0]"], "schedule.milestones = [0]: give epochs from 1 on"),
        (["schedule.gamma=0"], "schedule.gamma = 0: it should be greater than 0"),
        (["schedule.patience_epochs=0"], "schedule.patience_epochs = 0: it should be greater than or equal to 1"),
        (["optimizer.kind=adam"], "it should be 'sgd', 'alexnet', 'lars' or 'adamw'"),
        (
            ["optimizer.kind=lars", "optimizer.nesterov=true"],
            "is for optimizer.kind = sgd, not lars: leave nesterov out",
        ),
        (["optimizer.nesterov=true", "optimizer.momentum=0"], "needs optimizer.momentum above 0"),
        (["optimizer.lr_reference_batch=0"], "it should be greater than or equal to 1"),
        (["accumulation=3"], "accumulation = 3 does not divide loader.global_batch = 256"),
        (["clip_norm=0"], "clip_norm = 0: it should be greater than 0"),
        (["ema_decay=1"], "ema_decay = 1: it should be less than 1"),
        (["early_stop_epochs=0"], "early_stop_epochs = 0: it should be greater than or equal to 1"),
        (
            ["early_stop_epochs=5", "schedule.kind=plateau"],
            "early_stop_epochs = 5 ends the training before the rate falls",
        ),
        (["loader.global_batch=10", "loader.lanes=4"], "no multiple of loader.lanes"),
        (["loader.train_transforms=[{kind: flip}]"], "'pad', 'centre_crop', 'random_crop', 'random_flip'"),
        (["optimiser.lr=1"], "command line: optimiser is no setting; did you mean optimizer"),
        (["loader.global_batch=10"], "command line: loader.global_batch = 10 is no multiple"),
        (["loader.train_transforms=[{kind: random_crop, size: 3, pad: 1}]"], "Legal here: kind, size, padding"),
        (["mixing.mixup_alpha=-1"], "it should be greater than or equal to 0"),
        (["label_smoothing=1"], "it should be less than 1"),
        (["mixing.mixup_alpha=0.2", "loader.global_batch=16"], "lower loader.lanes to a half of it or less"),
        (["mixing.cutmix_alpha=1", "loader.lanes=256"], "lower loader.lanes to a half of it or less"),
        (["seed"], "seed: expected key=value"),
        (["seed.a=1", "seed.b.c=1"], "seed"),
        (["dataset.x=1"], "dataset is a value"),
        (["seed=[1"], "not readable as a YAML value"),
    ],
)
def test_wrong_overrides_are_refused_with_what_is_legal(conf, arguments, message):
    with pytest.raises(InputError) as refusal:
        parse(TrainSettings, [conf, *arguments])
    assert message in str(refusal.value)


def test_the_peak_learning_rate_grows_with_the_batch_only_if_it_is_of_a_reference(conf):
    batch = ["loader.global_batch=1024", "optimizer.lr=0.1"]
    assert parse(TrainSettings, [conf, *batch]).peak_lr == 0.1
    assert parse(TrainSettings, [conf, *batch, "optimizer.lr_reference_batch=256"]).peak_lr == 0.4


def test_each_workers_part_of_a_batch_is_cut_into_equal_micro_batches(conf):
    settings = parse(TrainSettings, [conf, "loader.global_batch=48", "accumulation=16"])
    assert settings.micro_batches(workers=1) == 16
    with pytest.raises(InputError, match="does not divide the 24 images that each of 2 workers"):
        settings.micro_batches(workers=2)


def test_an_unknown_key_in_the_file_names_the_file(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("dataset: data\nmodel: {nam: lenet5_modern}\n")
    with pytest.raises(InputError) as refusal:
        parse(TrainSettings, [str(path)])
    assert f"{path}: model.nam is no setting; did you mean model.name?" in str(refusal.value)
    assert f"{path}: model.name is missing" in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no configuration file"),
        (["seed=1"], "no configuration file"),
        (["conf/train/lenet5_digit.yaml"], "did you mean conf/train/lenet5_digits.yaml?"),
    ],
)
def test_a_missing_file_is_said_to_be_missing(arguments, message, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(InputError) as refusal:
        parse(TrainSettings, arguments)
    assert message in str(refusal.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_tree_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        parse(TrainSettings, [str(path)])


def test_a_wrong_setting_ends_the_job_with_status_2_and_one_line(conf, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train.py", conf, "epochs=0"])
    with pytest.raises(SystemExit) as ending:
        run(TrainSettings, lambda settings: None, "python jobs/train.py")
    assert ending.value.code == 2
    assert capsys.readouterr().err == "error: command line: epochs = 0: it should be greater than or equal to 1\n"


@pytest.mark.attack
def test_a_defect_is_seen_whole_but_for_passwords(conf, monkeypatch, capsys):
    def fail(settings):
        raise RuntimeError("no answer from http://me:secret@host")

    monkeypatch.setattr("sys.argv", ["train.py", conf])
    with pytest.raises(SystemExit) as ending:
        run(TrainSettings, fail, "python jobs/train.py")
    assert ending.value.code == 1
    printed = capsys.readouterr().err
    assert re.search(
        r"line \d+, in fail\n.*\n?RuntimeError: no answer from http://me:\*\*\*@host\n$", printed, re.DOTALL
    )


@pytest.mark.parametrize("settings_type", TYPES.values(), ids=TYPES)
def test_help_explains_every_setting(settings_type):
    text = explain(settings_type, "some command")
    assert "some command CONF.yaml [key=value" in text
    undocumented = [key for key, _ in _leaves_without_text(settings_type)]
    assert undocumented == []


def _leaves_without_text(settings_type):
    from pipelines.command_line import leaves

    return [(key, field) for key, field in leaves(settings_type) if not field.description]


def test_training_identity_ignores_where_and_how_fast_but_not_what():
    base = {"dataset": "data", "model": {"name": "lenet5_modern"}}
    identity = TrainSettings.model_validate(base).identity("digest")
    same = base | {"device": "cpu", "name": "x", "loader": {"decode_threads": 7}, "dataset": "elsewhere/data"}
    assert TrainSettings.model_validate(same).identity("digest") == identity
    assert TrainSettings.model_validate(base | {"seed": 1}).identity("digest") != identity
    assert TrainSettings.model_validate(base).identity("another digest") != identity


@pytest.fixture
def digits_conf(tmp_path):
    path = tmp_path / "digits.yaml"
    path.write_text("source: {kind: digits}\noutput: {path: x}\n")
    return str(path)


def test_a_switch_may_be_given_by_its_last_name(digits_conf):
    assert parse(PreprocessSettings, [digits_conf, "--prune"]).output.prune
    assert parse(PreprocessSettings, [digits_conf, "--check-md5"]).source.check_md5
    with pytest.raises(InputError, match="--prun: expected key=value"):
        parse(PreprocessSettings, [digits_conf, "--prun"])


def test_a_branch_that_may_be_left_out_can_be_given(digits_conf):
    assert parse(PreprocessSettings, [digits_conf]).tracking is None
    assert parse(PreprocessSettings, [digits_conf, "tracking.uri=sqlite:///a.db"]).tracking.uri == "sqlite:///a.db"
    with pytest.raises(InputError, match=r"tracking\.urr is no setting; did you mean tracking\.uri\?"):
        parse(PreprocessSettings, [digits_conf, "tracking.urr=x"])
    assert "tracking.uri  (" in explain(PreprocessSettings, "command")


def test_help_names_the_type_of_a_setting_that_may_be_left_out():
    text = explain(PreprocessSettings, "command")
    assert "source.kind  (digits | idx | ilsvrc |" in text
    assert "output.files_per_wave  (int; default none)" in text
    assert "augment.steps  (list; default [])" in text


def test_a_job_without_a_file_takes_its_subject_as_the_first_word():
    assert parse(SummarizeSettings, ["vgg_d"], "network").network == "vgg_d"
    assert parse(SummarizeSettings, ["vgg_d", "network=vgg_e"], "network").network == "vgg_e"
    assert parse(SummarizeSettings, ["network=vgg_e"], "network").network == "vgg_e"
    assert parse(SummarizeSettings, ["--compare"], "network").compare
    with pytest.raises(InputError, match="vgg: expected key=value"):
        parse(SummarizeSettings, ["vgg_d", "vgg"], "network")


def test_help_of_a_job_without_a_file_asks_for_its_subject():
    assert explain(SummarizeSettings, "some command", "network").startswith(
        "usage: some command [NETWORK] [key=value …]"
    )
    assert _leaves_without_text(SummarizeSettings) == []
    assert _leaves_without_text(SyncSettings) == []


def test_seeds_make_a_training_each_named_and_identified_as_if_it_were_alone(conf):
    members = parse(TrainSettings, [conf, "seeds=[3, 5..7]"]).members()
    alone = parse(TrainSettings, [conf, "seed=6"])
    assert [member.seed for member in members] == [3, 5, 6, 7]
    assert members[2].run_name() == alone.run_name()
    assert members[2].identity("d") == alone.identity("d")
    assert alone.members() == [alone]
    named = parse(TrainSettings, [conf, "seeds=[1..2]", "name=small"]).members()
    assert [member.run_name() for member in named] == ["small-seed1", "small-seed2"]


@pytest.mark.parametrize("seeds", ["[1, 1]", "[1..3, 2]", "[3..1]", "[1...3]", "[-1]", "one"])
def test_seeds_that_are_no_list_of_different_numbers_are_refused(conf, seeds):
    with pytest.raises(InputError, match="seeds"):
        parse(TrainSettings, [conf, f"seeds={seeds}"])


def test_several_files_are_several_settings_with_the_same_overrides(conf):
    other = str(REPOSITORY / "conf/train/resnet20_small.yaml")
    parsed = parse_each(TrainSettings, [conf, other, "seed=4"])
    assert parsed == [parse(TrainSettings, [conf, "seed=4"]), parse(TrainSettings, [other, "seed=4"])]
    assert parse_each(TrainSettings, [conf]) == [parse(TrainSettings, [conf])]
    with pytest.raises(InputError, match="no configuration file"):
        parse_each(TrainSettings, ["seed=4"])


@pytest.mark.attack
@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/name:os.system", "!!python/module:os"]
)
def test_no_setting_runs_code(tmp_path, tag):
    path = tmp_path / "some.yaml"
    path.write_text(f"seed: {tag} [{tmp_path / 'sprung'}]\n")
    with pytest.raises(InputError, match="not readable as YAML"):
        parse(TrainSettings, [str(path)])
    path.write_text("dataset: data\nmodel: {name: lenet5}\n")
    with pytest.raises(InputError, match="is not readable as a YAML value"):
        parse(TrainSettings, [str(path), f"seed={tag} [{tmp_path / 'sprung'}]"])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("settings_type", "more"), [(PreprocessSettings, ""), (ScoreSettings, "model: m\n")])
def test_a_folder_that_would_not_be_read_is_refused(settings_type, more, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("source: {kind: digits}\noutput: {path: x}\n" + more)
    parse(settings_type, [str(path)])
    with pytest.raises(InputError, match=r"source\.path = /images, but source\.kind = digits reads no folder"):
        parse(settings_type, [str(path), "source.path=/images"])
