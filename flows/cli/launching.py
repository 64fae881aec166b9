"""`millrace launch`: a run on machines outside Prefect, started one by one or as a Kubernetes job."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import parameters
from flows.cli.opening import open_lake
from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption, LayoutOption
from flows.cli.terminal import friendly_errors, output, print_json

if TYPE_CHECKING:
    from infra.store.lake import Lake
    from model.layout import Layout

launch_commands = typer.Typer(no_args_is_help=True)

RunArgument = Annotated[str, parameters.RUN.argument()]


@launch_commands.command("machine")
def machine(
    run: RunArgument,
    lake: LakeOption = DEFAULT_LAKE,
    layout: LayoutOption = None,
    machines: Annotated[int, typer.Option(min=1, help="Number of machines that train the run together.")] = 1,
    rank: Annotated[int, typer.Option(min=0, help="This machine's number, from 0.")] = 0,
    endpoint: Annotated[str, typer.Option(help="HOST:PORT of machine 0, for the rendezvous.")] = "",
    cache: Annotated[Path, typer.Option(help="Folder for local copies.")] = Path("cache"),
    grace: Annotated[int, typer.Option(min=1, help="Seconds to save and leave in, after SIGTERM.")] = 120,
) -> None:
    """Start or resume a run: on this machine alone, or this machine's part of a run on several machines.

    Run the same command on each machine, with its own --rank. The command becomes the training process. On SIGTERM it
    saves and exits with status 75; the same command then resumes. Status 78 is permanent: do not restart.
    """
    with friendly_errors(as_json=False, status=_status):
        import infra
        from model.supervision.launch import Machines, launch_command
        from tasks.layout_request import visible_gpus
        from tasks.runs import find_run

        opened = open_lake(lake)
        key = find_run(opened, run)
        with _refusals():
            gpus = visible_gpus()
            device = "cuda" if gpus else "cpu"
            chosen = _layout(opened, key, layout or [], machines * max(gpus, 1), device)
            several = Machines(machines, rank, endpoint) if machines > 1 or rank or endpoint else None
            command = launch_command(opened.uri, key, chosen, cache.absolute(), several, grace)
        root = str(Path(infra.__file__).parents[1])
        variables = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": chosen.device, "PYTHONPATH": root}
        sys.stdout.flush()
        os.execve(command[0], command, {**os.environ, **variables})


@launch_commands.command("kubernetes")
def kubernetes(
    run: RunArgument,
    image: Annotated[str, typer.Option(help="Container image that contains Millrace, with a fixed tag or digest.")],
    machines: Annotated[int, typer.Option(min=1, help="Number of machines; each is one pod.")] = 1,
    gpus_per_machine: Annotated[int, typer.Option(min=0, help="GPUs per machine, one rank each; 0 for CPUs.")] = 8,
    lake: LakeOption = DEFAULT_LAKE,
    layout: LayoutOption = None,
    out: Annotated[Path | None, typer.Option(help="File for the manifest. Without it: standard output.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the job. Without it: from the run's key.")] = None,
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace.")] = "default",
    secret: Annotated[
        list[str] | None, typer.Option(help="Kubernetes secret whose keys become environment variables; repeatable.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a non-secret variable; repeatable.")] = None,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs per machine.")] = 16,
    memory: Annotated[str, typer.Option(help="Memory per machine, such as 128Gi.")] = "128Gi",
    shared_memory: Annotated[str, typer.Option(help="Limit of shared memory (NCCL), part of --memory.")] = "32Gi",
    grace: Annotated[int, typer.Option(min=1, help="Seconds to save and leave in, after SIGTERM.")] = 120,
    restarts: Annotated[int, typer.Option(min=0, help="How often a failed job is restarted.")] = 5,
    startup_seconds: Annotated[int, typer.Option(min=1, help="Time for start-up before ranks are monitored.")] = 1800,
    steady_seconds: Annotated[int, typer.Option(min=1, help="A rank without progress for this long is stuck.")] = 300,
    as_json: JsonOption = False,
) -> None:
    """Write the manifest of a Kubernetes job that trains a run, for `kubectl apply -f`.

    The manifest is validated against Kubernetes' schemas. When the job is deleted, the run saves a checkpoint and
    exits; apply the manifest again to resume.
    """
    with friendly_errors(as_json):
        from infra.clusters import kubernetes as cluster
        from infra.clusters.kubernetes_values import ManifestError
        from model.supervision.launch import Machines, launch_command
        from model.supervision.termination import LEFT_AFTER_SAVING, PERMANENT_ERROR
        from tasks.runs import find_run

        if not lake.startswith("s3://"):
            raise ManifestError(f"--lake {lake}: the pods cannot reach a folder on this machine; use s3://…")
        opened = open_lake(lake)
        key = find_run(opened, run)
        called = name or f"millrace-{key[:12]}"
        endpoint = cluster.rendezvous_endpoint(called)
        with _refusals():
            ranks = machines * max(gpus_per_machine, 1)
            chosen = _layout(opened, key, layout or [], ranks, "cuda" if gpus_per_machine else "cpu")
            # Fail early when the ranks cannot be divided among the machines.
            launch_command(opened.uri, key, chosen, Path(cluster.CACHE_FOLDER), Machines(machines, 0, endpoint))
        if (chosen.device == "cuda") != bool(gpus_per_machine):
            raise ManifestError(
                f"--layout device={chosen.device} contradicts --gpus-per-machine {gpus_per_machine}: omit the device; "
                "it is then cuda with GPUs, and cpu with 0"
            )
        if gpus_per_machine and chosen.ranks != machines * gpus_per_machine:
            raise ManifestError(
                f"--layout has {chosen.ranks} ranks, but {machines} machines have {machines * gpus_per_machine} GPUs"
            )
        command = ["millrace", "launch", "machine", key, "--lake", opened.uri, "--machines", str(machines)]
        command += ["--rank", cluster.MACHINE_RANK, "--endpoint", endpoint]
        command += ["--cache", cluster.CACHE_FOLDER, "--grace", str(grace)]
        for field, value in chosen.to_plain().items():
            command += ["--layout", f"{field}={str(value).lower() if isinstance(value, bool) else value}"]
        probe = ["python", "-m", "model.supervision.heartbeat", "--lake", opened.uri, "--run-key", key]
        job = cluster.KubernetesJob(
            name=called,
            image=image,
            machines=machines,
            gpus=gpus_per_machine,
            cpus=cpus,
            memory=memory,
            shared_memory=shared_memory,
            command=tuple(command),
            alive=(*probe, "--limit", str(steady_seconds)),
            left_after_saving=LEFT_AFTER_SAVING,
            permanent_error=PERMANENT_ERROR,
            grace_seconds=grace,
            startup_seconds=startup_seconds,
            restarts=restarts,
            namespace=namespace,
            environment=_pairs(env or []),
            secrets=tuple(secret or []),
        )
        text = cluster.manifest(job)
        if out is not None:
            out.write_text(text, encoding="utf-8")
        if as_json:
            print_json({"run": key, "name": called, "endpoint": endpoint, "manifest": str(out) if out else text})
        elif out is None:
            sys.stdout.write(text)
        else:
            output.print(f"{out}: job {called} on {machines} machines; start it with kubectl apply -f {out}")


def _layout(lake: Lake, run: str, settings: list[str], ranks: int, device: str) -> Layout:
    """The layout of a run; `ranks` is the default number of ranks.

    By default, ranks are data-parallel with DeepSpeed's ZeRO 1, as in the planner; a single rank uses the native
    engine. Raises ValueError that names the field, and WrongSetting when the layout does not fit the run.
    """
    from flows.training import layout_settings
    from model.layout import layout_from
    from model.run.config import read_run
    from tasks.layout_request import check_layout
    from tasks.settings import nested_settings

    given = nested_settings(layout_settings(settings)).get("layout", {})
    cut = prod(size for size in (given.get("tensor"), given.get("pipeline")) if isinstance(size, int))
    data = given.get("data", max(1, ranks // max(1, cut)))
    alone = (data, cut) == (1, 1) and not given.get("zero")
    engine = given.get("engine", "native" if alone else "deepspeed")
    zero = 0 if engine == "native" else 1
    layout = layout_from({"engine": engine, "data": data, "zero": zero, "device": device, **given})
    check_layout(read_run(lake, run), layout)
    return layout


def _status(error: Exception) -> int:
    """Exit status when the launch fails before training: 1 for a temporary store failure, else `PERMANENT_ERROR`."""
    from infra.store.errors import StoreUnavailable
    from model.supervision.termination import PERMANENT_ERROR

    return 1 if isinstance(error, StoreUnavailable) else PERMANENT_ERROR


@contextmanager
def _refusals() -> Iterator[None]:
    """Convert a ValueError of the model code into a RecipeError."""
    from tasks.settings import RecipeError

    try:
        yield
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _pairs(settings: list[str]) -> dict[str, str]:
    """Parse NAME=VALUE pairs; values stay strings. Raises RecipeError."""
    from tasks.settings import RecipeError

    pairs = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not name:
            raise RecipeError(f"--env {setting}: write NAME=VALUE")
        pairs[name] = value
    return pairs
