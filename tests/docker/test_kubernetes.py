"""docker/kubernetes/ without a cluster: Kubernetes' own schemas, and what the two operators and our images expect.

The operators' schemas are theirs. What is checked here of their objects: that they have no fields but those that MPI
Operator v2beta1 and Spark Operator v1beta2 declare, and that their pods are pods.
"""

import re
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.docker.compose import stages

kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = REPOSITORY / "docker" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
OLDEST = "1.29"
"""Of the versions that the manifests are held to, beside the newest that the schemas know."""
MPIJOB = {"slotsPerWorker", "sshAuthMountPath", "launcherCreationPolicy", "runPolicy", "mpiReplicaSpecs"}
RUN_POLICY = {"cleanPodPolicy", "backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"}
SPARK_APPLICATION = {
    "type", "pythonVersion", "mode", "sparkVersion", "image", "imagePullPolicy", "mainApplicationFile", "arguments",
    "restartPolicy", "sparkConf", "volumes", "driver", "executor",
}  # fmt: skip
SPARK_POD = {
    "cores", "memory", "memoryOverhead", "serviceAccount", "labels", "podSecurityContext", "securityContext",
    "volumeMounts", "instances",
}  # fmt: skip


def read(*kinds: str) -> list[dict[str, Any]]:
    found = [item for file in FILES for item in yaml.safe_load_all(file.read_text())]
    return [item for item in found if not kinds or item["kind"] in kinds]


def template(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of an object."""
    if item["kind"] == "MPIJob":
        return [replica["template"] for replica in item["spec"]["mpiReplicaSpecs"].values()]
    if item["kind"] == "SparkApplication":
        return [_spark_pod(item["spec"], item["spec"][role]) for role in ("driver", "executor")]
    return [item["spec"]["template"]]


def _spark_pod(spec: dict[str, Any], pod: dict[str, Any]) -> dict[str, Any]:
    """The pod that the Spark Operator makes of its own words."""
    container = {key: pod[key] for key in ("securityContext", "volumeMounts")}
    limits = {"limits": {"cpu": str(pod["cores"]), "memory": pod["memory"].upper() + "i"}}
    container |= {"name": "spark", "image": spec["image"], "resources": limits}
    inside = {"containers": [container], "volumes": spec["volumes"], "securityContext": pod["podSecurityContext"]}
    return {"metadata": {"labels": pod["labels"]}, "spec": inside}


PODS = [pod for item in read("Deployment", "StatefulSet", "MPIJob", "SparkApplication") for pod in template(item)]


@pytest.mark.parametrize("version", [OLDEST, "newest"])
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_objects_are_as_kubernetes_declares_them(file, version):
    wanted = kubernetes_validate.latest_version() if version == "newest" else version
    for item in yaml.safe_load_all(file.read_text()):
        if item["kind"] not in ("MPIJob", "SparkApplication"):
            kubernetes_validate.validate(item, wanted, strict=True)


def test_pods_of_the_operators_are_pods():
    for item in read("MPIJob", "SparkApplication"):
        for pod in template(item):
            made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"} | pod["metadata"], "spec": pod["spec"]}
            kubernetes_validate.validate(made, OLDEST, strict=True)


def test_the_training_says_to_the_mpi_operator_what_it_knows():
    (job,) = read("MPIJob")
    assert job["apiVersion"] == "kubeflow.org/v2beta1"
    assert set(job["spec"]) <= MPIJOB
    assert set(job["spec"]["runPolicy"]) <= RUN_POLICY
    replicas = job["spec"]["mpiReplicaSpecs"]
    assert set(replicas) == {"Launcher", "Worker"}
    for replica in replicas.values():
        assert set(replica) == {"replicas", "restartPolicy", "template"}
        assert replica["restartPolicy"] in ("Never", "OnFailure")


def test_the_training_starts_as_many_workers_as_there_are_gpus():
    (job,) = read("MPIJob")
    spec = job["spec"]
    worker, launcher = (spec["mpiReplicaSpecs"][role] for role in ("Worker", "Launcher"))
    words = launcher["template"]["spec"]["containers"][0]["args"]
    assert int(words[words.index("-np") + 1]) == worker["replicas"] * spec["slotsPerWorker"]
    assert words[words.index("--hostfile") + 1] == "/etc/mpi/hostfile"
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == spec["slotsPerWorker"]
    conf = yaml.safe_load((REPOSITORY / words[words.index("jobs/train.py") + 1]).read_text())
    assert conf["loader"]["lanes"] % (worker["replicas"] * spec["slotsPerWorker"]) == 0


def test_the_operators_hostfile_is_one_that_horovodrun_reads(tmp_path):
    hosts = pytest.importorskip("horovod.runner.common.util.hosts")
    file = tmp_path / "hostfile"
    file.write_text("".join(f"train-worker-{n}.train.strata.svc slots=8\n" for n in range(2)))
    names, slots = hosts.parse_hosts_and_slots(hosts.parse_host_files(str(file)))
    assert names == ["train-worker-0.train.strata.svc", "train-worker-1.train.strata.svc"]
    assert set(slots.values()) == {8}


def test_preprocessing_says_to_the_spark_operator_what_it_knows():
    (application,) = read("SparkApplication")
    spec = application["spec"]
    assert application["apiVersion"] == "sparkoperator.k8s.io/v1beta2"
    assert set(spec) <= SPARK_APPLICATION
    assert set(spec["driver"]) | set(spec["executor"]) <= SPARK_POD
    for path in (spec["mainApplicationFile"].removeprefix("local://"), spec["arguments"][0]):
        assert (REPOSITORY / path.removeprefix("/opt/strata/")).exists(), path


def test_spark_has_the_shipped_settings_there_too():
    (application,) = read("SparkApplication")
    lines = [line.split() for line in (REPOSITORY / "docker" / "spark-defaults.conf").read_text().splitlines()]
    shipped = {words[0]: words[1] for words in lines if words and words[0] != "#"}
    of_a_standalone_cluster = {"spark.master.rest.enabled", "spark.worker.cleanup.enabled"}
    assert application["spec"]["sparkConf"] == {
        key: value for key, value in shipped.items() if key not in of_a_standalone_cluster
    }


def test_pods_are_hardened_and_limited():
    for pod in PODS:
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])


def test_images_are_ours_or_have_the_exact_tag_of_a_release():
    for image in {container["image"] for pod in PODS for container in pod["spec"]["containers"]}:
        name, _, tag = image.partition(":")
        assert re.match(r"\d+\.\d+", tag), image
        assert not name.startswith("strata-") or name.removeprefix("strata-") in stages()


def test_secrets_come_by_reference():
    for pod in PODS:
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                if re.search(r"PASSWORD|SECRET|_KEY", variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}, variable
                    assert variable["valueFrom"]["secretKeyRef"]["name"] == "mlflow"
    assert not read("Secret")


def test_volumes_and_claims_are_there():
    claims = {item["metadata"]["name"] for item in read("PersistentVolumeClaim")}
    for pod in PODS:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        wanted = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert wanted <= claims


def test_every_pod_is_named_by_a_policy_and_nobody_else_is_let_in():
    policies = read("NetworkPolicy")
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in [policy["spec"] for policy in policies]
    named = {policy["spec"]["podSelector"].get("matchLabels", {}).get("strata") for policy in policies}
    assert {pod["metadata"]["labels"]["strata"] for pod in PODS} <= named
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], policy["metadata"]["name"]


def test_everything_is_in_one_namespace():
    (namespace,) = read("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for item in read():
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == namespace["metadata"]["name"]
