"""What each section shows, and what it says where there is nothing to show."""

import re

import pytest
import yaml
from matplotlib.figure import Figure

from pipelines.command_line import parse
from pipelines.config import EnsembleSettings, EvaluateSettings, PreprocessSettings, ReportSettings, TrainSettings
from pipelines.report.blocks import Chart, Code, Picture
from pipelines.report.mistakes import MOST_CLASSES, mistakes
from pipelines.report.reproduce import reproduce
from pipelines.report.revolution import revolution
from pipelines.report.together import ensemble as ensemble_section
from pipelines.report.together import published_curve
from pipelines.report.trainings import curves, inputs, runs, speed
from pipelines.summary.published import PUBLISHED
from pipelines.summary.revolution import compare
from tests.pipelines.report.studies import (
    CLASSES,
    MISTAKES,
    ensemble,
    evaluated,
    facts,
    judged,
    tables,
    training,
    whole,
    words,
)
from tests.pipelines.report.test_facts import imagenet


@pytest.fixture(scope="module")
def compared():
    return compare()


def charts(section):
    return [block for block in section.blocks if isinstance(block, Chart)]


def pictures(section):
    return [block.name for block in section.blocks if isinstance(block, Picture)]


def drawn(panel):
    axes = Figure().subplots()
    panel.draw(axes)
    return axes


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


class TestRevolution:
    def test_other_images_than_imagenets_have_an_axis_of_their_own(self, compared):
        measured, published = charts(revolution(whole(), compared))
        ours, theirs = drawn(measured.panels[0]), drawn(published.panels[0])
        assert labels(ours) == ["lenet5_modern-pets-seed1", "lenet5_modern-pets-seed2", "pets-ensemble"]
        assert ours.get_xlabel() == "top-1 error on this study's images, %"
        assert "vgg_d, 16 layers" in labels(theirs)
        assert "alexnet_two_tower, 8 layers: 18.2, several together 15.4" in published.alternative
        assert not any("pets" in label for label in labels(theirs))
        assert "cannot be set beside those" in words(revolution(whole(), compared).blocks)

    def test_on_imagenet_measured_errors_stand_beside_the_published_ones(self, compared, digits):
        members = [
            training(seed, judged(0.3, 0.1), parameters={"model.name": "vgg_d", "dataset": "imagenet"})
            for seed in (1, 2)
        ]
        study = facts(*members, ensemble(members), manifest=imagenet(digits.manifest))
        (chart,) = charts(revolution(study, compared))
        axes = drawn(chart.panels[0])
        row = labels(axes).index("vgg_d, 16 layers")
        at_row = [line for line in axes.lines if set(line.get_ydata()) == {row}]
        assert sorted(round(float(x), 6) for line in at_row for x in line.get_xdata()) == [9, 9, 10, 10, 11, 11]
        assert {bar.get_width() for bar in axes.patches} >= {8.1, 18.2, 5.71}
        assert labels(axes)[-1] == "pets-ensemble"
        assert "judged by the same 50,000 validation images" in words(revolution(study, compared).blocks)

    def test_axes_of_errors_begin_at_zero(self, compared):
        for chart in charts(revolution(whole(), compared)):
            assert drawn(chart.panels[0]).get_xlim()[0] == 0

    def test_what_is_told_behind_a_row_has_its_place(self, compared):
        for chart in charts(revolution(whole(), compared)):
            figure = Figure(figsize=(chart.panels[0].width, chart.panels[0].height), layout="constrained")
            axes = figure.subplots()
            chart.panels[0].draw(axes)
            figure.draw_without_rendering()
            assert all(text.get_window_extent().x1 <= axes.bbox.x1 for text in axes.texts)

    def test_every_published_error_is_in_the_table(self, compared):
        (table,) = tables(revolution(whole(), compared)).values()
        assert [row[0] for row in table.rows] == [entry.network for entry in PUBLISHED]
        assert "none of them measured here" in table.title

    def test_without_evaluations_it_says_what_makes_them(self, compared):
        section = revolution(facts(training(1)), compared)
        assert "jobs/evaluate.py" in words(section.blocks)
        assert [chart.name for chart in charts(section)] == ["published"]

    def test_an_error_of_nothing_at_all_is_drawn(self, compared):
        chart = charts(revolution(facts(training(1, judged(0.0) | {"eval_top1_error_high": 0.0})), compared))[0]
        assert drawn(chart.panels[0]).get_xlim()[1] > 0


class TestRuns:
    def test_a_row_says_everything_about_a_run(self):
        (table,) = tables(runs(whole())).values()
        of_first = dict(zip(table.headings, table.rows[0], strict=True))
        assert of_first["run"] == "lenet5_modern-pets-seed1"
        assert list(table.rows[0][1:]) == [
            "lenet5_modern", "61,706", "1", "3", "2", "5.00%", "4.00% to 6.00%", "1.00%", "0.00% to 2.00%", "1,200",
            "abcdef0", "finished",
        ]  # fmt: skip
        assert table.rows[2][:2] == ("pets-ensemble", "average of 2")

    def test_a_run_without_evaluation_has_its_last_validation_with_a_mark(self):
        section = runs(facts(training(1)))
        (table,) = tables(section).values()
        assert table.rows[0][6:10] == ("5.00%*", "", "0.00%*", "")
        assert "jobs/evaluate.py adds the interval" in words(section.blocks)
        assert words(runs(whole()).blocks) == ""

    def test_what_failed_runs_or_was_stopped_says_so_with_its_epochs(self):
        studied = [training(seed, status=status) for seed, status in ((1, "RUNNING"), (2, "FAILED"), (3, "KILLED"))]
        studied[0] = training(1, status="RUNNING", curves={"val_loss": {1: 1.0}}, ended_ms=None)
        (table,) = tables(runs(facts(*studied))).values()
        assert [(row[4], row[-1]) for row in table.rows] == [
            ("1 of 3", "running"),
            ("3 of 3", "failed"),
            ("3 of 3", "stopped"),
        ]

    def test_code_that_was_changed_since_its_commit_says_so(self):
        changed = training(1, tags=training(1).tags | {"strata.git_changed": "true"})
        (table,) = tables(runs(facts(changed))).values()
        assert table.rows[0][-2] == "abcdef0, changed"

    def test_the_dataset_is_a_column_where_there_are_several(self):
        other = training(2, tags={"strata.dataset_digest": "fedcba9876543210"})
        (table,) = tables(runs(facts(training(1), other))).values()
        assert [row[1] for row in table.rows] == ["01234567", "fedcba98"]
        assert table.headings[1] == "dataset"
        assert {table.headings[column] for column in table.numeric} >= {"parameters", "images/s"}

    def test_other_protocols_have_a_table(self):
        section = runs(facts(training(1, judged(0.05) | judged(0.04, prefix="eval_dense"))))
        table = tables(section)["Shown images in other ways"]
        assert table.rows == (("lenet5_modern-pets-seed1", "dense", "4.00%", "3.00% to 5.00%", "0.00%", "1,000"),)


class TestCurves:
    def test_loss_error_rate_and_speed_are_drawn_for_every_training(self):
        (chart,) = charts(curves(whole()))
        loss, error, rate, images = (drawn(panel) for panel in chart.panels)
        assert [axes.get_title(loc="left") for axes in (loss, error, rate, images)] == [
            "Loss", "Top-1 error", "Learning rate at the epoch's end", "Speed",
        ]  # fmt: skip
        assert [len(axes.lines) for axes in (loss, error, rate, images)] == [4, 4, 2, 2]
        assert list(error.lines[-1].get_ydata()) == [60, 10, 5]
        assert error.get_ylim()[0] == rate.get_ylim()[0] == images.get_ylim()[0] == 0
        assert loss.get_yscale() == "log"
        assert [key.label for key in chart.keys][:2] == ["lenet5_modern-pets-seed1", "lenet5_modern-pets-seed2"]
        assert "lenet5_modern-pets-seed2: after 3 epochs a validation loss of 0.25" in chart.alternative

    def test_a_curve_that_nobody_logged_has_no_panel(self):
        (chart,) = charts(curves(facts(training(1, curves={"val_loss": {1: 1.0, 2: 0.5}}))))
        assert [drawn(panel).get_title(loc="left") for panel in chart.panels] == ["Loss"]

    def test_many_trainings_have_a_colour_a_network(self):
        many = [training(seed) for seed in range(9)]
        (chart,) = charts(curves(facts(*many)))
        assert chart.keys[0].label == "lenet5_modern"
        assert len(chart.keys) == 3
        assert len(drawn(chart.panels[0]).lines) == 18

    def test_one_epoch_is_a_point(self):
        (chart,) = charts(curves(facts(training(1, curves={"val_loss": {1: 1.0}}, status="RUNNING"))))
        (line,) = drawn(chart.panels[0]).lines
        assert line.get_marker() == "o"

    def test_before_the_first_epochs_end_there_are_none(self):
        section = curves(facts(training(1, curves={}, status="RUNNING")))
        assert charts(section) == []
        assert "No training has come to the end of its first epoch" in words(section.blocks)


class TestEnsemble:
    def test_alexnets_published_curve_stands_beside_the_measured_one(self):
        assert published_curve() == {1: 18.2, 5: 16.4, 7: 15.4}
        (chart,) = charts(ensemble_section(whole()))
        absolute, relative = (drawn(panel) for panel in chart.panels)
        assert [list(line.get_ydata()) for line in absolute.lines] == [[5, 3], [1, 0]]
        assert [round(float(y), 4) for y in relative.lines[-1].get_ydata()] == [1, 0.9011, 0.8462]
        assert [list(line.get_ydata()) for line in relative.lines[:-1]] == [[1, 0.6], [1, 0]]
        assert "fell 18.2% → 16.4% → 15.4% with 1, 5, 7 networks" in chart.caption

    def test_it_tells_members_errors_agreement_and_greedy_selection(self):
        section = ensemble_section(whole())
        told = words(section.blocks)
        assert "averages the probabilities of lenet5_modern-pets-seed1 and lenet5_modern-pets-seed2." in told
        assert "Greedy selection on one half of the images takes 2 of the members" in told
        assert pictures(section) == ["agreement"]
        (table,) = tables(section).values()
        assert table.rows == (("1", "5.00%", "1.00%"), ("2", "3.00%", "0.00%"))

    @pytest.mark.parametrize(
        ("study", "told"),
        [
            (facts(training(1)), "It needs two trainings or more"),
            (
                facts(training(1, judged(0.1)), training(2, judged(0.2))),
                "2 networks have predictions, and spark-submit",
            ),
        ],
    )
    def test_without_one_it_says_what_makes_it(self, study, told):
        (missing,) = ensemble_section(study).blocks
        assert missing.kind == "missing"
        assert told in words([missing])


class TestMistakes:
    def test_classes_pairs_and_mistakes_are_those_that_the_evaluation_logged(self):
        section = mistakes(whole())
        found = tables(section)
        assert found["Classes, highest error first"].rows == (
            ("dog & bone", "20", "10.00%", "cat, 2 times"),
            ("cat", "10", "0.00%", ""),
        )
        assert found["The pairs mixed up most"].rows == (("dog & bone taken for cat", "2", "10.00%"),)
        assert found["The same as a table"].rows[0] == ("val/7.png", "dog & bone", "cat", "98.8%", "4.5000")
        assert pictures(section) == ["mistakes", "confusion", "calibration"]
        assert "Of the ensemble, pets-ensemble." in words(section.blocks)

    def test_where_nothing_is_wrong_it_says_so(self):
        none = evaluated() | {"evaluation/as_trained/mistakes.csv": MISTAKES.splitlines()[0].encode()}
        section = mistakes(facts(training(1, judged(0.0), none)))
        assert "It gets no image wrong." in words(section.blocks)
        assert pictures(section) == ["confusion", "calibration"]

    def test_without_an_ensemble_they_are_the_best_networks(self):
        section = mistakes(facts(training(1, judged(0.05), evaluated()), training(2, judged(0.04))))
        assert "Of the best network, lenet5_modern-pets-seed2." in words(section.blocks)
        assert "evaluate lenet5_modern-pets-seed2 again" in words(section.blocks)

    def test_of_many_classes_those_with_the_highest_error_are_shown(self):
        header, *_ = CLASSES.splitlines()
        lines = [f"{number},class {number},10,{1 - number / 100:.6f},class 0,1" for number in range(50)]
        files = evaluated() | {"evaluation/as_trained/classes.csv": "\n".join([header, *lines]).encode()}
        table = tables(mistakes(facts(training(1, judged(0.05), files))))[
            "Classes, the 20 of 50 with the highest error"
        ]
        assert [row[0] for row in table.rows] == [f"class {number}" for number in range(49, 49 - MOST_CLASSES, -1)]

    def test_without_an_evaluation_it_says_what_makes_one(self):
        assert "jobs/evaluate.py CONF.yaml predicts every validation image" in words(
            mistakes(facts(training(1))).blocks
        )


class TestInputsAndSpeed:
    def test_samples_and_filters_of_the_best_network_are_shown(self):
        section = inputs(whole())
        assert pictures(section) == ["samples", "filters"]
        assert all("seed2" in block.caption for block in section.blocks)

    def test_without_pictures_it_says_so(self):
        assert "has logged no pictures" in words(inputs(facts(training(1, artifact=lambda path: None))).blocks)

    def test_speed_has_columns_for_what_was_logged(self):
        section = speed(whole())
        (table,) = tables(section).values()
        assert dict(zip(table.headings, table.rows[0], strict=True)) == {
            "run": "lenet5_modern-pets-seed1", "workers": "2", "images/s": "1,200", "waited for input": "2.0%",
            "from begin to end": "2.5 min", "processors busy": "71%", "memory in use": "3.2 GB",
        }  # fmt: skip
        assert "Hosts: 1 x (A processor, 2 cores)." in words(section.blocks)

    def test_there_is_no_speed_before_the_first_epochs_end(self):
        assert "no speed before" in words(speed(facts(training(1, curves={}))).blocks)


class TestReproduce:
    def test_its_files_are_settings_of_the_jobs_and_its_commands_name_them(self, digits, tmp_path):
        section = reproduce(whole(digits.manifest))
        files = {block.title: block.lines for block in section.blocks if isinstance(block, Code)}
        commands = files.pop("Commands, in the repository's root").splitlines()
        assert commands == [
            "spark-submit jobs/preprocess.py preprocess.yaml",
            "horovodrun -np 2 python jobs/train.py train.yaml 'seeds=[1,2]' tracking.experiment=pets",
            "horovodrun -np 2 python jobs/evaluate.py evaluate.yaml",
            "spark-submit jobs/ensemble.py ensemble.yaml",
            "python jobs/report.py study=pets",
        ]
        kinds = (PreprocessSettings, TrainSettings, EvaluateSettings, EnsembleSettings)
        for kind, (name, content) in zip(kinds, files.items(), strict=True):
            (tmp_path / name).write_text(content)
            settings = parse(kind, [str(tmp_path / name)])
            if kind is EnsembleSettings:
                assert settings.runs == ("lenet5_modern-pets-seed1", "lenet5_modern-pets-seed2")
                assert (settings.combine, settings.greedy) == ("probabilities", 7)
            if kind is TrainSettings:
                assert (settings.epochs, settings.model.name) == (3, "lenet5_modern")

    def test_trainings_of_other_settings_have_a_file_of_their_own(self):
        other = training(3, files={"settings.yaml": training(3).artifact("settings.yaml").replace(b"3", b"5")})
        titles = [block.title for block in reproduce(facts(training(1), other)).blocks if isinstance(block, Code)]
        assert titles[1:] == ["train1.yaml", "train2.yaml"]

    def test_names_are_quoted_for_the_shell_and_for_yaml(self):
        name = "it's; rm -rf ~ $(x): {y}"
        named = training(1, name=name, parameters=training(1).parameters | {"name": name})
        study = facts(named, name="- a, study")
        commands = next(block.lines for block in reproduce(study).blocks if isinstance(block, Code)).splitlines()
        words_of = [re.sub(r"'\"'\"'", "\0", command) for command in commands]
        given = [word.replace("\0", "'") for word in re.findall(r"'([^']*)'", words_of[0])]
        assert [yaml.safe_load(word.partition("=")[2]) for word in given] == [name, "- a, study"]
        assert parse(ReportSettings, ['study="- a, study"'], subject="study").study == "- a, study"

    def test_it_says_so_where_code_was_changed_or_is_not_known(self):
        assert "so the commit alone may not" not in words(reproduce(whole()).blocks)
        changed = training(1, tags=training(1).tags | {"strata.git_changed": "true"})
        assert "so the commit alone may not give the same" in words(reproduce(facts(changed)).blocks)
        assert "its commit is not known" in words(reproduce(facts(training(1, tags={}))).blocks)


def test_csv_tables_with_lines_in_a_name_are_read_whole():
    name = 'a "name",\nof two lines'
    text = (
        "label,predicted,images,share_of_label\n"
        + ",".join(['"' + name.replace('"', '""') + '"', "cat", "1", "0.5"])
        + "\n"
    )
    files = evaluated() | {"evaluation/as_trained/confused_pairs.csv": text.encode()}
    table = tables(mistakes(facts(training(1, judged(0.05), files))))["The pairs mixed up most"]
    assert table.rows[0][0] == f"{name} taken for cat"
