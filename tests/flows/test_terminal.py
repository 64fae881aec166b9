"""What the terminal shows of text from pages, file names and lakes: as it is, and nothing that steers the terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from flows.cli import terminal
from flows.cli.terminal import CommandFailed, SafeConsole, fail, print_json, print_table, progress_bars, styled
from infra.visible import visible

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2066 [/red] [link=http://evil.example]click[/link] \ud800"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2066 [/red] [link=http://evil.example]click[/link] \ud800"


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to a terminal 200 columns wide."""
    written = io.StringIO()
    for name in ("output", "errors"):
        made = SafeConsole()
        made.file, made.width = written, 200
        made._force_terminal = True
        monkeypatch.setattr(terminal, name, made)
    return written


def test_markup_and_controls_are_shown(console: io.StringIO) -> None:
    terminal.output.print(HOSTILE)
    terminal.output.print(styled("run [bold]{}[/]", HOSTILE))
    print_table("Ledger of " + HOSTILE, ["reason", HOSTILE], [[HOSTILE, 3]])
    with pytest.raises(CommandFailed):
        fail(HOSTILE, as_json=False)
    with progress_bars(quiet=False) as show:
        show(HOSTILE, 1, 2, HOSTILE)
    text = console.getvalue()
    assert text.count(SHOWN) >= 4
    for control in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e", "\u2066", "evil.example\x1b"):
        assert control not in text


def test_text_of_every_script_is_left_alone() -> None:
    text = "tab\tline\nنیم‌فاصله क्‍ष 👩‍👩‍👧 日本語 Ω"
    assert visible(text) == text


def test_json_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"url": HOSTILE})
    out = capsys.readouterr().out
    assert out.isascii() and "\x1b" not in out
    assert json.loads(out)["url"] == HOSTILE[:-1] + "\ufffd"


def test_rich_reads_no_markup_in_values() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(styled("[bold]{}[/] {}", "[red]\\", "x[/]"))
    assert console.file.getvalue() == "[red]\\ x[/]\n"  # type: ignore[attr-defined]


def test_a_funnel_says_which_verdicts_depend_on_the_machine(
    console: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.cli import build

    monkeypatch.setattr(build, "output", terminal.output)
    entry = {"stage": "web_archive", "documents_in": 3, "documents_kept": 2, "bytes_in": 9, "dropped": {}}
    build.print_funnel([{**entry, "failed": {"bad_chunking": 1}}])
    assert "depends on the machine" not in console.getvalue()
    build.print_funnel([{**entry, "failed": {"over_budget": 1}}])
    assert "depends on the machine" in console.getvalue()
