"""What other people can reach of a state folder: its server without a password, its ports, its files."""

from __future__ import annotations

import contextlib
import http
import ipaddress
import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from infra.server.password import PASSWORD_FILE
from infra.server.private import DATABASE_FILE, WRITE_AHEAD
from infra.server.process import LOG_FILE, STATE_FILE

_MODULES = ("infra.server.", "model.agent", "model.train")  # of the server and of training, in a command line
_SECONDS = 5.0


def authentication(state_folder: Path) -> tuple[bool, str]:
    """Whether the running server of `state_folder` refuses requests without a password; True when none runs."""
    try:
        url = json.loads((state_folder / STATE_FILE).read_text(encoding="utf-8"))["url"]
    except FileNotFoundError:
        return True, "no server runs; each one that starts requires a password"
    status = _status_without_password(url)
    if status is None:
        return True, f"nothing answers at {url}; each server that starts requires a password"
    if status == http.HTTPStatus.UNAUTHORIZED:
        return True, f"{url} requires a password"
    return False, f"{url} answers without a password (status {status}); stop that server, and start `millrace up` again"


def open_ports() -> tuple[bool, str]:
    """Whether all TCP ports of this user's Millrace processes listen on loopback only, and which they are."""
    found = sorted(set(_listening()))
    told = [f"{ip}:{port} ({name}, process {pid})" for pid, name, ip, port in found]
    beyond = [line for line, (_, _, ip, _) in zip(told, found, strict=True) if not _is_loopback(ip)]
    if beyond:
        return False, (
            f"beyond loopback: {', '.join(beyond)}; whoever reaches these ports can use them. A run on several "
            "machines needs them: admit only its machines in the firewall. End any other of these processes"
        )
    return True, f"on loopback only: {', '.join(told)}" if told else "no process of Millrace listens"


def file_modes(state_folder: Path, lake: Path | None = None) -> tuple[bool, str]:
    """Whether other users are kept out of the state folder and its files, and cannot change the folder `lake`.

    A lake that others can only read may be meant so: it is told, and is no fault.
    """
    held = set(os.listdir(state_folder)) if state_folder.is_dir() else set()
    private = [state_folder / name for name in (PASSWORD_FILE, DATABASE_FILE, *WRITE_AHEAD, LOG_FILE) if name in held]
    faults = [fault for path in private if (fault := _fault(path, 0o077, "chmod 600"))]
    if held & {DATABASE_FILE, PASSWORD_FILE}:  # otherwise the folder is not yet a server's
        if state_folder.stat().st_mode & stat.S_ISVTX:  # such as /tmp
            faults.append(f"{state_folder} is shared by all users: set MILLRACE_STATE to a folder of your own")
        elif fault := _fault(state_folder, 0o077, "chmod 700"):
            faults.append(fault)
    told = []
    if lake is not None and lake.is_dir():
        if fault := _fault(lake, 0o022, "chmod go-w"):
            faults.append(fault)
        elif readable := _fault(lake, 0o005, "unless that is meant: chmod o-rwx"):
            told.append(readable)
    if faults:
        return False, "; ".join(faults)
    return True, "; ".join(["other users cannot open the server's state", *told])


def _fault(path: Path, bits: int, cure: str) -> str | None:
    """What is wrong when `path` is another user's or has any of the mode's `bits`."""
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to user {found.st_uid}; use your own"
    mode = stat.S_IMODE(found.st_mode)
    return f"other users have access to {path} (mode {mode:03o}); {cure} {path}" if mode & bits else None


def _status_without_password(url: str) -> int | None:
    """The HTTP status of a request that only a person with the password may make; None where nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/admin/version", timeout=_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _listening() -> Iterator[tuple[int, str, str, int]]:
    """Process id, name, address and port of each listening TCP socket of this user's Millrace processes."""
    import psutil

    ours: dict[int, tuple[psutil.Process, str]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has just ended, or is another user's
            if process.uids().effective == os.geteuid() and (name := _name(process.cmdline())):
                for one in (process, *process.children(recursive=True)):
                    ours.setdefault(one.pid, (one, name))
    for pid, (process, name) in ours.items():
        with contextlib.suppress(psutil.Error):
            for found in process.net_connections("tcp"):
                if found.status == psutil.CONN_LISTEN:
                    yield pid, name, found.laddr.ip, found.laddr.port


def _name(command: list[str]) -> str:
    """What shows a command line to be Millrace's: its script or a module; empty for other programs."""
    if "millrace" in (Path(word).name for word in command[:2]):
        return "millrace"
    return next((word for word in command if word.startswith(_MODULES)), "")


def _is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
