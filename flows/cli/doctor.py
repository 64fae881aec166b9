"""`millrace doctor`: checks the requirements of Millrace on this machine."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from flows.cli.options import DEFAULT_LAKE, JsonOption, LakeOption
from flows.cli.terminal import CommandFailed, friendly_errors, output, print_json, styled

_PACKAGES = ("prefect", "torch", "deepspeed", "datasketch", "fasttext", "kenlm", "sentencepiece", "s3fs", "pyarrow")


def doctor(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Check what Millrace needs on this machine, and show how to fix what is missing."""
    with friendly_errors(as_json):
        checks = [
            _python(),
            *(_package(name) for name in _PACKAGES),
            _fasttext(),
            _language_model(),
            _kenlm_tools(),
            _room(),
            _server(),
            *_exposure(lake),
            accelerator(),
            energy(),
            _lake(lake),
        ]
        healthy = all(check["ok"] for check in checks)
        if as_json:
            print_json({"healthy": healthy, "checks": checks})
        else:
            for check in checks:
                mark = "[green]ok[/]  " if check["ok"] else "[red]no[/]  "
                output.print(styled(f"{mark} {{}}: {{}}", check["what"], check["found"]))
        if not healthy:
            raise CommandFailed


def accelerator() -> dict[str, Any]:
    """The GPUs of this machine, and their peak performance if it is known."""
    import torch

    from model.cost.devices import reported_device

    if not torch.cuda.is_available():
        return _check("accelerator", True, "no GPU: training runs on the CPU")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    kinds = []
    for name in dict.fromkeys(names):
        said = "peak unknown, so MFU is not reported"
        if device := reported_device(name):
            precision = "bf16" if device.peak("bf16") else "fp16"
            said = f"peak {device.peaks[precision] / 1e12:,.0f} TFLOP/s in {precision}"
        kinds.append(f"{names.count(name)} × {name} ({said})")
    return _check("accelerator", True, "; ".join(kinds))


def energy(powercap: Path | None = None) -> dict[str, Any]:
    """The energy meters available to a run here, and why others are unavailable."""
    import torch

    from model.accounting.hardware import POWERCAP, meters_of_machine
    from model.accounting.rank_info import RankInfo, gpus_of_machine

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = gpus_of_machine(RankInfo(local_ranks=count)) if count else []
    meters, notes = meters_of_machine(gpus, None, "the devices", powercap or POWERCAP)
    readings = [meter.read() for meter in meters]
    measured = [f"measured: {reading.by}" for reading in readings if reading.basis == "measured"]
    return _check("energy", True, "; ".join([*measured, *notes]))


def _check(what: str, ok: bool, found: str) -> dict[str, Any]:
    return {"what": what, "ok": ok, "found": found}


def _fasttext() -> dict[str, Any]:
    import fasttext

    whole = hasattr(fasttext, "train_supervised")
    cure = "replaced by the package fasttext-predict: delete .venv and run `make setup`"
    return _check("fasttext can train", whole, "yes" if whole else cure)


def _python() -> dict[str, Any]:
    return _check("Python 3.11", sys.version_info[:2] == (3, 11), sys.version.split()[0])


def _package(name: str) -> dict[str, Any]:
    try:
        return _check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _check(name, False, "not installed: run `make setup`")


def _language_model() -> dict[str, Any]:
    from tasks.language import identify_language
    from tasks.model_files import model_files

    model = model_files(identify_language, str(identify_language.default_model))
    return _check("language model", True, next(iter(model.digests.values()))[:12])


def _kenlm_tools() -> dict[str, Any]:
    from infra.kenlm_tools import find_kenlm_tools

    tools = find_kenlm_tools()
    return _check(
        "lmplz",
        True,
        str(tools.lmplz) if tools else "not built: run `bash infra/setup/install.sh`, or the first fit builds it",
    )


def _server() -> dict[str, Any]:
    from infra.server.local import default_state_folder
    from infra.server.process import LOG_FILE
    from infra.server.service_errors import service_errors

    log = default_state_folder() / LOG_FILE
    errors = service_errors(log)
    if not errors:
        return _check("Prefect server", True, "no errors since its last start" if log.exists() else "not started yet")
    told = [f"{count} × {error}" for error, count in errors.most_common(3)]
    return _check("Prefect server", False, f"errors since its last start: {'; '.join(told)}; see {log}")


def _exposure(uri: str) -> list[dict[str, Any]]:
    from flows.cli.opening import place
    from infra.server.exposure import authentication, file_modes, open_ports
    from infra.server.local import default_state_folder
    from infra.store.errors import StoreError

    state = default_state_folder()
    try:
        lake = place(uri).local_path("")
    except StoreError:  # the check of the lake tells it
        lake = None
    return [
        _check("authentication", *authentication(state)),
        _check("open ports", *open_ports()),
        _check("file modes", *file_modes(state, lake.expanduser() if lake else None)),
    ]


def _room() -> dict[str, Any]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return _check("disk", free > 2, f"{free:.1f} GiB free here, {os.cpu_count()} CPUs")


def _lake(uri: str) -> dict[str, Any]:
    from flows.cli.opening import NoLake, open_lake, place
    from infra.store.errors import StoreError

    try:
        try:
            lake, found = open_lake(uri), "exists and is writable"
        except NoLake:
            lake, found = place(uri), "does not exist yet: the first build creates it"
            local = lake.local_path("")
            if local is not None:
                # A test write would leave a folder behind.
                return _room_for_folder(local.expanduser().absolute(), f"{uri} {found}")
        lake.write("doctor", b"ok")
        lake.delete("doctor")
    except StoreError as error:
        return _check("lake", False, str(error))
    return _check("lake", True, f"{uri} {found}")


def _room_for_folder(folder: Path, found: str) -> dict[str, Any]:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        return _check("lake", False, f"{folder} cannot be created: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return _check("lake", False, f"{folder} cannot be created: {nearest} is not writable. Use another folder.")
    return _check("lake", True, found)
