"""The manifest of a Kubernetes job: what it says, and that Kubernetes' own schemas refuse what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

pytest.importorskip("kubernetes_validate", reason="the extra `kubernetes` is not installed")

from infra.clusters.kubernetes import (
    MACHINE_RANK,
    KubernetesJob,
    manifest,
    rendezvous_endpoint,
    validate,
)
from infra.clusters.kubernetes_values import ManifestError

JOB = KubernetesJob(
    name="millrace-1a2b3c",
    image="registry.example/millrace:0.1.0",
    machines=4,
    gpus=8,
    cpus=64,
    memory="512Gi",
    shared_memory="64Gi",
    command=("millrace", "launch", "machine", "--rank", MACHINE_RANK),
    alive=("python", "-m", "model.supervision.heartbeat"),
    left_after_saving=75,
    permanent_error=78,
    grace_seconds=120,
    startup_seconds=1800,
    restarts=5,
    environment={"AWS_ENDPOINT_URL": "https://store.example"},
    secrets=("lake-credentials",),
)


def documents(job: KubernetesJob = JOB) -> tuple[dict[str, Any], dict[str, Any]]:
    service, batch = yaml.safe_load_all(manifest(job))
    return service, batch


def test_machines_find_each_other() -> None:
    """Kubernetes calls pod i of an indexed job NAME-i, in the domain of the service that `subdomain` names."""
    service, batch = documents()
    assert (service["kind"], service["spec"]["clusterIP"]) == ("Service", "None")
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": batch["metadata"]["name"]}
    assert service["spec"]["publishNotReadyAddresses"]
    spec = batch["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert rendezvous_endpoint(JOB.name) == f"{batch['metadata']['name']}-0.{pod['subdomain']}:29400"
    assert "$(JOB_COMPLETION_INDEX)" in pod["containers"][0]["command"]


def test_leaving_in_order_is_no_failure_and_has_its_time() -> None:
    _, batch = documents()
    evicted, left, _ = batch["spec"]["podFailurePolicy"]["rules"]
    assert evicted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert (left["action"], left["onExitCodes"]["values"]) == ("Ignore", [75])
    assert batch["spec"]["backoffLimit"] == 5 * 4
    pod = batch["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 120
    assert pod["restartPolicy"] == "Never"  # pod failure policies need it
    assert left["onExitCodes"]["containerName"] == pod["containers"][0]["name"]


def test_an_error_that_would_come_back_uses_up_no_restarts() -> None:
    _, batch = documents()
    last = batch["spec"]["podFailurePolicy"]["rules"][-1]
    container = batch["spec"]["template"]["spec"]["containers"][0]["name"]
    assert last == {
        "action": "FailJob",
        "onExitCodes": {"containerName": container, "operator": "In", "values": [78]},
    }


def test_gpus_shared_memory_and_secrets() -> None:
    _, batch = documents()
    pod = batch["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert container["volumeMounts"][0] == {"name": "shared-memory", "mountPath": "/dev/shm"}
    assert container["envFrom"] == [{"secretRef": {"name": "lake-credentials"}}]
    assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "https://store.example"}]


def test_a_job_on_cpus_asks_for_no_gpus() -> None:
    assert "nvidia" not in manifest(replace(JOB, gpus=0))


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


POD = ("spec", "template", "spec")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("spec", "completion_mode", value="Indexed"), "spec: .*completion_mode"),
        (_set("spec", "parallelism", value="4"), "spec.parallelism: '4' is not of type"),
        (_set(*POD, "terminationGracePeriod", value=1), "terminationGracePeriod"),
        (_set(*POD, "containers", 0, "resources", "limit", value={}), "resources: .*limit"),
        (_set(*POD, "containers", 0, "livenessProbe", "exec", "command", value="true"), "exec.command"),
        (_set(*POD, "volumes", 0, "emptyDir", "size", value="1Gi"), "emptyDir: .*size"),
        (_set("spec", "podFailurePolicy", "rules", 1, "onExitCodes", "values", value=["75"]), "onExitCodes"),
        (_set("apiVersion", value="batch/v7"), "kind Job with api version batch/v7"),
    ],
)
def test_wrong_fields_are_refused(change: Callable[[dict[str, Any]], None], message: str) -> None:
    _, batch = documents()
    validate(copy.deepcopy(batch))
    change(batch)
    with pytest.raises(ManifestError, match=message):
        validate(batch)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "Millrace_1"}, "--name Millrace_1: not a Kubernetes name"),
        ({"name": "m" * 62}, "up to 61"),
        ({"name": "7b-run"}, "--name 7b-run: .*a letter first"),
        ({"name": "run-"}, "--name run-: not a Kubernetes name"),
        ({"name": "seven.b"}, "--name seven.b: not a Kubernetes name"),
        ({"namespace": "a.b"}, "--namespace a.b: not a Kubernetes name"),
        ({"secrets": ("good", "a..b")}, "--secret a..b: not a Kubernetes name"),
        ({"secrets": ("A",)}, "--secret A: not a Kubernetes name"),
        ({"environment": {"A B": "1"}}, "--env A B: not a Kubernetes name, .* letters, digits"),
        ({"environment": {"1A": "1"}}, "--env 1A: not a Kubernetes name"),
        ({"environment": {"..A": "1"}}, "--env ..A: not a Kubernetes name"),
        ({"environment": {"A\n": "1"}}, "--env A\n: not a Kubernetes name"),
        ({"image": "registry.example:5000/millrace"}, "one fixed version"),
        ({"image": "millrace:latest"}, "--image millrace:latest: name one fixed version"),
        ({"image": "millrace:LATEST"}, "one fixed version"),
        ({"image": "registry.example:5000/millrace:Latest"}, "one fixed version"),
        ({"image": "millrace:"}, "one fixed version"),
        ({"image": "millrace:1 "}, "one fixed version"),
        ({"image": "millrace@sha256"}, "one fixed version"),
        ({"memory": "lots"}, "--memory lots: not a Kubernetes quantity of bytes.*such as 128Gi"),
        ({"memory": "128GB"}, "--memory 128GB: not a Kubernetes quantity"),
        ({"memory": "128 Gi"}, "--memory 128 Gi: not a Kubernetes quantity"),
        ({"memory": "128ki"}, "--memory 128ki: not a Kubernetes quantity"),
        ({"memory": "128m"}, "--memory 128m: not a Kubernetes quantity"),
        ({"memory": "-1Gi"}, "--memory -1Gi: not a Kubernetes quantity"),
        ({"memory": "1e3Gi"}, "--memory 1e3Gi: not a Kubernetes quantity"),
        ({"shared_memory": "0"}, "--shared-memory 0: .*above 0"),
        ({"shared_memory": "513Gi"}, "--shared-memory 513Gi: it is part of --memory, which is 512Gi"),
        ({"memory": "64G"}, "--shared-memory 64Gi: it is part of --memory, which is 64G"),
        ({"machines": 0}, "machines is 0"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}, "looks like a secret"),
        ({"environment": {"HF_TOKEN": "x"}}, "looks like a secret"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        replace(JOB, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "b7-run"},
        {"secrets": ("a.b", "7")},
        {"namespace": "7"},
        {"environment": {"a.b-c_D1": "", "_": "", "-x": ""}},
        {"memory": "64Gi"},
        {"memory": "68719476736"},
        {"memory": "0.5Ti"},
        {"memory": "1E"},
        {"memory": "1E12"},
        {"memory": "1e+12"},
        {"shared_memory": "500000000k"},
        {"image": "registry.example:5000/group/millrace:1.0_a-b"},
        {"image": f"millrace@sha256:{'0a' * 32}"},
        {"image": f"millrace:latest@sha256:{'0a' * 32}"},
        {"image": "millrace:latest-2024"},
    ],
)
def test_what_kubernetes_takes_is_taken(values: dict[str, Any]) -> None:
    assert manifest(replace(JOB, **values))
