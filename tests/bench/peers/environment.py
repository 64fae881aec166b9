"""One environment for each peer, under build/bench/peers: made on first use, and anew when its requirements change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.records import ROOT

FOLDER = ROOT / "build" / "bench" / "peers"
_MOST_SECONDS = 1200


class PeerMissing(Exception):
    """A peer cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool to compare with: `requirements` are pinned; those `alone` are installed without their dependencies.

    `folder` holds code that is on no registry, and is put before all packages; a peer that `wants_folder` says how to
    get it.
    """

    name: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    folder: Path | None = None
    wants_folder: str = ""


def environment(peer: Peer, folder: Path = FOLDER) -> Path:
    """The Python of the peer's environment. Raises PeerMissing when it cannot be made."""
    if peer.wants_folder and (peer.folder is None or not peer.folder.is_dir()):
        raise PeerMissing(f"no folder of {peer.name} was given: {peer.wants_folder}")
    place = folder / peer.name
    python, made = place / "bin" / "python", place / "made.json"
    wanted = json.dumps([sys.version, peer.requirements, peer.alone])
    if made.is_file() and made.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    print(f"  making the environment of {peer.name}: {', '.join(peer.requirements + peer.alone)}", flush=True)
    _run([sys.executable, "-m", "venv", str(place)], peer)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if peer.requirements:
        _run([*pip, *peer.requirements], peer)
    if peer.alone:
        _run([*pip, "--no-deps", *peer.alone], peer)
    made.write_text(wanted)
    return python


def _run(command: list[str], peer: Peer) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"the environment of {peer.name} was not made: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise PeerMissing(f"the environment of {peer.name} was not made: {' / '.join(errors[-3:])}")
