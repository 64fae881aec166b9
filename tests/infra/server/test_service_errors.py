"""Errors of the server's services are found in its log, counted, and told once each."""

from __future__ import annotations

import threading
from pathlib import Path

from infra.server.service_errors import STARTED, ServiceError, service_errors, tell_service_errors

SCHEDULER = """\
21:04:13.418 | ERROR   | docket.dependencies - ↩ [   259ms] schedule_recent_deployments(){schedule_recent_deployments}
Traceback (most recent call last):
  File "/venv/docket/worker.py", line 1134, in _execute
    result = await execution.function(
             ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/venv/sqlalchemy/ext/hybrid.py", line 1851, in prop
    raise exc.InvalidRequestError(
sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement; please supply a bulk_dml decorated function
"""
WARNING = "21:04:14.001 | WARNING | prefect.server.utilities - something slow\n"
PLAIN = "21:04:15.001 | CRITICAL | prefect.server.events - database is locked\x1b[31m\n"
KNOWN = ServiceError(
    "schedule_recent_deployments",
    "sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement; please supply a bulk_dml decorated "
    "function",
)


def test_the_task_and_the_exception_are_named(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(f"old {SCHEDULER}x {STARTED}\n{SCHEDULER}{WARNING}{SCHEDULER}{PLAIN}")
    found = service_errors(log)
    # No control characters reach a terminal.
    assert found == {KNOWN: 2, ServiceError("prefect.server.events", "database is locked�[31m"): 1}


def test_errors_before_the_last_start_are_history(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    assert not service_errors(log)
    log.write_text(f"{SCHEDULER}2026-11-28T21:04:13+00:00 {STARTED}\n{WARNING}")
    assert not service_errors(log)


def test_an_error_is_told_once_while_the_server_runs(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    told: list[str] = []
    heard = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        heard.set()

    with tell_service_errors(log, tell, interval=0.01):
        log.write_text(SCHEDULER)
        assert heard.wait(60)
        with log.open("a") as file:
            file.write(SCHEDULER)
    assert told == [f"the server reports an error in {KNOWN}; see {log}"]


def test_an_error_at_the_very_end_is_told(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    told: list[str] = []
    with tell_service_errors(log, told.append, interval=600):
        log.write_text(SCHEDULER)
    assert len(told) == 1
