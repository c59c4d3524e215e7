"""The shell scripts of docker/: lint, and what they refuse or make before they hand over."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.jobs.commands import environment

DOCKER = REPOSITORY / "docker"
SCRIPTS = [*DOCKER.glob("*.sh"), *DOCKER.glob("slurm/*"), REPOSITORY / ".ci" / "run"]
SECRET = "0123456789abcdef" * 4


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    found = call("shellcheck", script)
    assert found.returncode == 0, found.stdout


def call(*command, **variables):
    return subprocess.run(
        [str(word) for word in command], env=environment() | variables, text=True, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("secret", "problem"),
    [("", "is not set"), ("short", "shorter than 32"), ("$(date) " * 8, "more than letters and digits")],
)
def test_spark_starts_only_with_a_secret(secret, problem):
    found = call(DOCKER / "spark.sh", "master", STRATA_SPARK_SECRET=secret)
    assert found.returncode == 2
    assert problem in found.stderr


def test_the_secret_is_in_a_file_of_the_user_alone_beside_the_shipped_settings(tmp_path):
    show = 'cd "$SPARK_CONF_DIR"; cat spark-defaults.conf; stat -c %a . spark-defaults.conf; env'
    found = call(DOCKER / "spark.sh", "sh", "-c", show, STRATA_SPARK_SECRET=SECRET, TMPDIR=str(tmp_path))
    settings, _, rest = found.stdout.partition(f"spark.authenticate.secret {SECRET}\n")
    assert settings == (DOCKER / "spark-defaults.conf").read_text()
    assert rest.startswith("700\n600\n")
    assert SECRET not in rest
    assert (next(tmp_path.iterdir()) / "log4j2.properties").exists()


def test_the_shipped_settings_of_spark_are_safe():
    lines = [line.split() for line in (DOCKER / "spark-defaults.conf").read_text().splitlines()]
    settings = {words[0]: words[1] for words in lines if words and words[0] != "#"}
    wanted = {
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.saslFallback": "false",
        "spark.io.encryption.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.acls.enable": "true",
        "spark.ui.killEnabled": "false",
        "spark.master.rest.enabled": "false",
    }
    assert wanted.items() <= settings.items()
    assert "*" not in settings.values()


@pytest.fixture
def java(tmp_path):
    """A java that says how it was called, where spark-env.sh finds a Java 17."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "java"
    program.write_text('#!/bin/sh\necho \'openjdk version "17.0.1"\' >&2\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_kubernetes_starts_an_executor_with_what_the_driver_wants_of_it(java):
    found = call(
        DOCKER / "spark.sh", "executor",
        PATH=f"{java / 'bin'}{os.pathsep}{environment()['PATH']}", JAVA_HOME=str(java),
        SPARK_JAVA_OPT_0="-Dfirst=a b", SPARK_JAVA_OPT_2="-Dsecond", SPARK_JAVA_OPT_10="-Dlast",
        SPARK_EXECUTOR_MEMORY="2g", SPARK_EXECUTOR_CORES="8", SPARK_EXECUTOR_ID="3", SPARK_APPLICATION_ID="app",
        SPARK_DRIVER_URL="spark://driver", SPARK_EXECUTOR_POD_IP="10.0.0.3", SPARK_EXECUTOR_POD_NAME="pod",
        SPARK_RESOURCE_PROFILE_ID="0",
    )  # fmt: skip
    words = found.stdout.splitlines()
    assert words[:5] == ["-Dfirst=a b", "-Dsecond", "-Dlast", "-Xms2g", "-Xmx2g"], found.stderr
    told = dict(zip(words[8::2], words[9::2], strict=True))
    assert words[7] == "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
    assert told == {
        "--driver-url": "spark://driver", "--executor-id": "3", "--cores": "8", "--app-id": "app",
        "--hostname": "10.0.0.3", "--resourceProfileId": "0", "--podName": "pod",
    }  # fmt: skip


def test_kubernetes_starts_a_driver_at_its_own_address(tmp_path):
    program = tmp_path / "spark-submit"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{environment()['PATH']}"
    found = call(DOCKER / "spark.sh", "driver", "--class", "C", PATH=path, SPARK_DRIVER_BIND_ADDRESS="10.0.0.2")
    words = found.stdout.splitlines()
    assert words[:2] == ["--deploy-mode", "client"], found.stderr
    assert "spark.driver.bindAddress=10.0.0.2" in words
    assert words[-2:] == ["--class", "C"]


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and openssh-server")
def test_the_sshd_of_a_host_takes_keys_alone(tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # asked for where root asks
    shown = call("/usr/sbin/sshd", "-T", "-f", DOCKER / "sshd_config", "-o", f"HostKey={key}").stdout.splitlines()
    assert "authenticationmethods publickey" in shown
    for way in ("passwordauthentication", "kbdinteractiveauthentication", "allowtcpforwarding", "x11forwarding"):
        assert f"{way} no" in shown


def test_scripts_can_be_started():
    for script in DOCKER.glob("*.sh"):
        assert script.stat().st_mode & stat.S_IXUSR, script
