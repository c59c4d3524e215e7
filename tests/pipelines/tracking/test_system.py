import platform
import time

from pipelines.tracking.entries import entry_from
from pipelines.tracking.journal import read
from pipelines.tracking.system import gpu_values, sample, sampling


def sampled(folder, count):
    """Sample until there are so many, at least."""
    path = folder / "hosts" / f"{platform.node()}.jsonl"
    with sampling(folder, every_s=0.01):
        while len(list(read(path))) < count:
            time.sleep(0.01)
    return [entry_from(line.tree) for line in read(path)]


def test_a_host_is_sampled_under_its_name_and_counted_on_when_a_training_goes_on(tmp_path):
    first = sampled(tmp_path, 2)
    again = sampled(tmp_path, len(first) + 2)
    assert [entry.step for entry in again] == list(range(len(again)))
    assert f"system/{platform.node()}/cpu_utilization_percentage" in again[0].values


def test_a_host_that_cannot_be_sampled_trains_all_the_same(tmp_path, capsys):
    (tmp_path / "hosts").write_text("no folder")
    with sampling(tmp_path, every_s=0.01):
        pass
    assert f"tracking: {platform.node()}'s load is not recorded" in capsys.readouterr().out


def test_shares_are_shares_and_sizes_are_sizes(tmp_path):
    values = sample(tmp_path)
    assert all(0 <= value <= 100 for name, value in values.items() if name.endswith("percentage"))
    assert values["system_memory_usage_megabytes"] > 100


def test_no_sampling_makes_no_journal(tmp_path):
    with sampling(tmp_path, every_s=None):
        pass
    assert not list(tmp_path.iterdir())


def test_gpus_are_told_apart_and_what_is_unknown_is_left_out():
    answer = "0, 97, 61234, 512.25\n1, 3, 400, [N/A]\n"
    assert gpu_values(answer) == {
        "gpu_0_utilization_percentage": 97,
        "gpu_0_memory_usage_megabytes": 61234,
        "gpu_0_power_usage_watts": 512.25,
        "gpu_1_utilization_percentage": 3,
        "gpu_1_memory_usage_megabytes": 400,
    }
