"""A run as a Kubernetes Job: builds the manifest from typed values and validates it against Kubernetes' schemas.

An Indexed Job has one pod per machine. A headless Service gives the pods DNS names; the first pod is the rendezvous.
Pods that are evicted, or that exit after saving, are replaced and do not count as failures. A permanent error fails
the Job.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from infra.clusters.kubernetes_values import (
    LABEL,
    SERVICE,
    SUBDOMAIN,
    VARIABLE,
    ManifestError,
    bytes_of,
    require_fixed_version,
    require_name,
)

# The oldest supported Kubernetes: the first version with stable pod failure policies.
KUBERNETES = "1.31"
RENDEZVOUS_PORT = 29400  # any would do: each pod has its own address
MACHINE_RANK = "$(JOB_COMPLETION_INDEX)"  # Kubernetes expands it in a container's command
CACHE_FOLDER = "/cache"
_CONTAINER = "ranks"
# The container ends by itself within the grace period; the margin covers Kubernetes' delivery of the signal.
_MARGIN_SECONDS = 15
_PROBE_SECONDS = 60
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|ACCESS_KEY|API_KEY", re.IGNORECASE)


@dataclass(frozen=True)
class KubernetesJob:
    """The values of a manifest.

    `command` is the command of one machine and may contain `MACHINE_RANK`. `alive` is the liveness command, which
    fails when a rank of its machine is stuck; it runs from `startup_seconds` on. The command has `grace_seconds`
    between SIGTERM and its end. The exit code `left_after_saving` is not a failure; after `permanent_error`, a restart
    does not help. `secrets` are names of Kubernetes secrets whose keys become environment variables; the manifest
    never contains secret values.
    """

    name: str
    image: str
    machines: int
    gpus: int
    cpus: int
    memory: str
    shared_memory: str
    command: tuple[str, ...]
    alive: tuple[str, ...]
    left_after_saving: int
    permanent_error: int
    grace_seconds: int
    startup_seconds: int
    restarts: int
    namespace: str = "default"
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A pod's name is the job's name and an index, with at most 63 characters (RFC 1123).
        longest = 63 - len(f"-{self.machines - 1}")
        require_name("name", self.name, SERVICE, longest)
        require_name("namespace", self.namespace, LABEL, 63)
        for secret in self.secrets:
            require_name("secret", secret, SUBDOMAIN, 253)
        for variable in self.environment:
            require_name("env", variable, VARIABLE, 253)
        require_fixed_version("image", self.image)
        if bytes_of("shared-memory", self.shared_memory) > bytes_of("memory", self.memory):
            raise ManifestError(
                f"--shared-memory {self.shared_memory}: it is part of --memory, which is {self.memory}; lower it"
            )
        for what, number, least in (
            ("machines", self.machines, 1),
            ("gpus", self.gpus, 0),
            ("cpus", self.cpus, 1),
            ("grace_seconds", self.grace_seconds, 1),
            ("startup_seconds", self.startup_seconds, 1),
            ("restarts", self.restarts, 0),
        ):
            if number < least:
                raise ManifestError(f"{what} is {number}; it must be at least {least}")
        for variable in self.environment:
            if _SECRET.search(variable):
                raise ManifestError(
                    f"the variable {variable} looks like a secret, which must not be in a manifest; put it into a "
                    "Kubernetes secret and name that"
                )


def rendezvous_endpoint(name: str) -> str:
    """HOST:PORT of the job's first pod, as resolved within its namespace."""
    return f"{name}-0.{name}:{RENDEZVOUS_PORT}"


def manifest(job: KubernetesJob) -> str:
    """The manifest as YAML of two documents, a Service and a Job. Raises ManifestError."""
    documents = [_service(job), _job(job)]
    for document in documents:
        validate(document)
    return yaml.safe_dump_all(documents, sort_keys=False, width=120)


def validate(document: dict[str, Any]) -> None:
    """Validate a document against the schema of its kind; unknown fields are errors. Raises ManifestError."""
    try:
        import kubernetes_validate
    except ImportError as error:
        raise ManifestError(
            "the package that validates manifests is not installed: pip install 'millrace[kubernetes]'"
        ) from error
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(map(str, error.path)) or "the document"
        raise ManifestError(f"{document['kind']}: {where}: {error.message}") from error
    except kubernetes_validate.SchemaNotFoundError as error:
        raise ManifestError(error.message) from error


def _service(job: KubernetesJob) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job),
        "spec": {
            "clusterIP": "None",
            "selector": {"batch.kubernetes.io/job-name": job.name},
            # The ranks resolve each other before any pod is ready.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }


def _job(job: KubernetesJob) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job),
        "spec": {
            "completionMode": "Indexed",
            "completions": job.machines,
            "parallelism": job.machines,
            # When one machine fails, all of them do, and each pod counts as a failure.
            "backoffLimit": job.restarts * job.machines,
            "podFailurePolicy": {
                # The first match applies. The exit status of a pod whose node was removed says nothing about the run.
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    _on_exit("Ignore", job.left_after_saving),
                    _on_exit("FailJob", job.permanent_error),
                ]
            },
            "template": {"metadata": {"labels": _labels(job)}, "spec": _pod(job)},
        },
    }


def _on_exit(action: str, status: int) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"containerName": _CONTAINER, "operator": "In", "values": [status]}}


def _pod(job: KubernetesJob) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "subdomain": job.name,
        "terminationGracePeriodSeconds": job.grace_seconds + _MARGIN_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_container(job)],
        "volumes": [
            # NCCL uses shared memory within a machine; a container has 64 MiB of it by default.
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": job.shared_memory}},
            {"name": "cache", "emptyDir": {}},
        ],
    }
    if job.gpus:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return pod


def _container(job: KubernetesJob) -> dict[str, Any]:
    resources: dict[str, Any] = {"requests": {"cpu": str(job.cpus), "memory": job.memory}}
    if job.gpus:
        resources["limits"] = {"nvidia.com/gpu": str(job.gpus)}
    return {
        "name": _CONTAINER,
        "image": job.image,
        "command": list(job.command),
        "env": [{"name": name, "value": value} for name, value in sorted(job.environment.items())],
        "envFrom": [{"secretRef": {"name": secret}} for secret in job.secrets],
        "ports": [{"name": "rendezvous", "containerPort": RENDEZVOUS_PORT}],
        "resources": resources,
        "securityContext": {"allowPrivilegeEscalation": False},
        "livenessProbe": {
            "exec": {"command": list(job.alive)},
            "initialDelaySeconds": job.startup_seconds,
            "periodSeconds": _PROBE_SECONDS,
            "timeoutSeconds": _PROBE_SECONDS // 2,
            "failureThreshold": 2,
        },
        "volumeMounts": [
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "cache", "mountPath": CACHE_FOLDER},
        ],
    }


def _metadata(job: KubernetesJob) -> dict[str, Any]:
    return {"name": job.name, "namespace": job.namespace, "labels": _labels(job)}


def _labels(job: KubernetesJob) -> dict[str, str]:
    return {"app.kubernetes.io/name": "millrace", "app.kubernetes.io/instance": job.name}
