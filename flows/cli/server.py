"""`millrace up` and `millrace deploy`: the dashboard and its deployments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import DEFAULT_LAKE, LakeOption
from flows.cli.serving import prefect_server
from flows.cli.terminal import friendly_errors, output
from infra.server.local import default_state_folder

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

InputsOption = Annotated[
    list[str] | None,
    typer.Option("--input", help="Path, glob, folder or s3:// URI that the deployment `corpus` builds from."),
]


def up(
    state: Annotated[
        Path | None, typer.Option(help="Folder of the server's history. Without it: the user's state folder.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the dashboard; if it is taken, a free port.")] = 4200,
    lake: LakeOption = DEFAULT_LAKE,
    inputs: InputsOption = None,
    root: Annotated[
        list[str] | None,
        typer.Option(help="Folder or s3:// prefix that runs may read and write, beside this folder; repeatable."),
    ] = None,
) -> None:
    """Start the server with its dashboard, the deployments and a worker. Ctrl-C stops them.

    The forms list the corpora that the lake has now; `millrace deploy` updates the lists.
    """
    from infra.server.up import up as run_server

    def register(client: SyncPrefectClient) -> Iterator[str]:
        # Prefect reads its settings when it is imported.
        from flows.deploying import deploy

        return deploy(client, lake, inputs or ())

    roots = _roots(lake, inputs or (), root or ())
    raise typer.Exit(run_server(state or default_state_folder(), port, register, roots))


def _roots(lake: str, inputs: Sequence[str], more: Sequence[str]) -> list[str]:
    """What runs of the worker may use: this folder, the lake, the folders of the inputs, and what the user adds."""
    from infra.store.inputs import without_wildcards
    from infra.store.roots import given_roots

    given = given_roots()
    usual = [os.getcwd(), lake, *map(without_wildcards, inputs)] if given is None else given
    paths = [path if path.startswith("s3://") else str(Path(path).expanduser().absolute()) for path in [*usual, *more]]
    return list(dict.fromkeys(paths))


def deploy(
    lake: LakeOption = DEFAULT_LAKE,
    inputs: InputsOption = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Replace schedules and parameters that were changed in the dashboard.")
    ] = False,
) -> None:
    """Register the deployments again, so that the dashboard's forms list new recipes, presets and corpora."""
    with friendly_errors(as_json=False), prefect_server():
        from prefect.client.orchestration import get_client

        from flows.deploying import deploy as register

        with get_client(sync_client=True) as client:
            for line in register(client, lake, inputs or (), reset):
                output.print(line)
