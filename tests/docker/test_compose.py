"""docker/compose.yaml without an engine: what it refers to, whom it lets in, what it does without passwords."""

import re

import pytest
import yaml

from tests.docker.compose import COMPOSE, VARIABLE, interpolated, new_secrets, stages

SECRET = re.compile(r"PASSWORD|SECRET")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(interpolated(COMPOSE.read_text(), new_secrets()))


@pytest.mark.parametrize("missing", sorted(new_secrets()))
@pytest.mark.parametrize("value", [None, ""])
def test_it_does_not_start_without_any_one_of_the_passwords(missing, value):
    secrets = new_secrets()
    secrets.pop(missing)
    with pytest.raises(ValueError, match=f"{missing} is unset"):
        interpolated(COMPOSE.read_text(), secrets | ({} if value is None else {missing: value}))


def test_no_password_has_a_default():
    for name, operator, _ in VARIABLE.findall(COMPOSE.read_text()):
        assert operator == "?" or not SECRET.search(name), name


def test_passwords_are_new_each_time_and_long():
    first, second = new_secrets(), new_secrets()
    assert not set(first.values()) & set(second.values())
    assert len(set(first.values())) == len(first)
    assert min(map(len, first.values())) >= 32


def test_every_variable_that_is_a_secret_is_a_password_of_its_own(compose):
    secrets = set(new_secrets())
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert len(value) >= 32, f"{name}: {key}"
    used = {name for name, operator, _ in VARIABLE.findall(COMPOSE.read_text()) if operator == "?"}
    assert used == secrets


def test_services_are_hardened_and_limited(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert not {"privileged", "pid", "ipc", "network_mode", "devices", "cap_add"} & set(service), name
        assert "docker.sock" not in str(service), name


def test_no_service_runs_as_root(compose):
    ours = {f"strata-{name}:0.1.0": stage for name, stage in stages().items()}
    for name, service in compose["services"].items():
        user = service.get("user") or ours[service["image"]].user
        assert not user.startswith(("0", "root")), name
        assert user, name


def test_images_are_ours_or_have_the_exact_tag_of_a_release(compose):
    for service in compose["services"].values():
        target = service.get("build", {}).get("target")
        assert target is None or service["image"] == f"strata-{target}:0.1.0"
        assert re.search(r":\d+\.\d+", service["image"])


def test_only_this_machine_reaches_what_is_published(compose):
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert {name for name, service in compose["services"].items() if service.get("ports")} == {"mlflow", "spark-master"}


def test_database_and_store_are_seen_by_mlflow_alone(compose):
    assert compose["networks"]["store"] == {"internal": True}
    inside = {name for name, service in compose["services"].items() if "store" in service["networks"]}
    assert inside == {"database", "store", "bucket", "mlflow"}
    assert all(compose["services"][name]["networks"] == ["store"] for name in inside - {"mlflow"})


def test_what_runs_on_says_whether_it_is_well(compose):
    for name, service in compose["services"].items():
        stays = service["restart"] != "no"
        assert stays == ("test" in service["healthcheck"]), name


def test_what_services_refer_to_is_declared(compose):
    declared = {"networks": set(compose["networks"]), "volumes": set(compose["volumes"])}
    for name, service in compose["services"].items():
        assert set(service["networks"]) <= declared["networks"], name
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith("/")}
        assert named <= declared["volumes"], name
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "test" in compose["services"][other]["healthcheck"], f"{name} waits for {other}"
    used = str([service.get("volumes") for service in compose["services"].values()])
    assert all(f"'{volume}:" in used for volume in declared["volumes"])


def test_mlflow_answers_to_named_hosts_alone(compose):
    hosts = compose["services"]["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "*" not in hosts
    assert "mlflow:5000" in hosts


def test_there_are_two_workers(compose):
    assert compose["services"]["spark-worker"]["deploy"]["replicas"] == 2


def test_the_file_for_gpus_changes_services_that_are_there(compose):
    cuda = yaml.safe_load((COMPOSE.parent / "compose.cuda.yaml").read_text())
    assert set(cuda["services"]) <= set(compose["services"])
    for service in cuda["services"].values():
        assert service["build"]["args"] == {"DEVICE": "cuda"}
        assert service["image"].endswith("-cuda")
