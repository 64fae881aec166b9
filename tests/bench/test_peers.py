"""Peers: environments, the process in which a peer works, rows; all without a network and without a peer."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench import archive_texts, extraction, gold, heuristics, paragraphs, signatures_peers
from tests.bench.measure import DifferentOutputs, Workload
from tests.bench.peers import process, tools
from tests.bench.peers.environment import Peer, PeerMissing, environment
from tests.bench.peers.process import SIDES, Contest, contest, equal, running
from tests.bench.records import RECORDER

PEER = Peer("adder", ("adder==1.0",))
SIDE = """
import json

def prepare(given, folder):
    print("this is no answer")
    return json.loads(given.read_text())

def work(value):
    if value == "breaks":
        raise ValueError("this value cannot be added")
    return sum(value)

def outcome(value):
    return [sum(value[: end + 1]) for end in range(len(value))]
"""


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer that is this very Python, and numbers for it to add."""
    (tmp_path / "adds.py").write_text(SIDE)
    (tmp_path / "given.json").write_text("[1, 2, 4]")
    monkeypatch.setattr(process, "SIDES", tmp_path)
    monkeypatch.setattr(process, "environment", lambda peer: Path(sys.executable))
    return tmp_path / "given.json"


def contest_of(outcome: Sequence[int], calls: list[str], floor: float = 2.0) -> Contest:
    return Contest(
        "sums", PEER, "Adder", "adds", floor, lambda: calls.append("ours"), lambda: outcome, equal, (["pip"], ["numpy"])
    )


WORKLOAD: Workload[Any] = Workload([1, 2, 4], "numbers", 3, "numbers", 24, "of them")


def test_a_row_has_both_rates_their_ratio_and_what_agrees(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    RECORDER.start(name="sums", about="a test", machine="this one", versions="none")
    row = contest(contest_of([1, 3, 7], calls), WORKLOAD, given, rounds=3)
    assert RECORDER.finish("python -m tests.bench sums").rows == (row,)
    assert len(calls) == 3 and row.ratio is not None and row.ratio.count == 3
    assert row.ours and row.theirs and row.unit == "numbers/s"
    assert row.outputs_agree and row.agreement == "3 equal"
    assert "numpy " in row.versions and "Adder: Python 3.11" in row.versions and "pip " in row.versions
    assert "Adder" in capsys.readouterr().out


def test_different_outputs_are_not_timed(given: Path) -> None:
    calls: list[str] = []
    with pytest.raises(DifferentOutputs, match="output 1 differs: millrace gives 4, the peer gives 3"):
        contest(contest_of([1, 4, 7], calls), WORKLOAD, given)
    assert calls == []
    with pytest.raises(DifferentOutputs, match="millrace gives 2 outputs, the peer gives 3"):
        equal([1, 3], [1, 3, 7])


def test_a_peer_that_cannot_be_run_is_a_row_that_says_why(
    given: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given.write_text('"breaks"')
    with running(PEER, "adds", given) as peer, pytest.raises(PeerMissing, match="this value cannot be added"):
        peer.work()

    def missing(peer: Peer) -> Path:
        raise PeerMissing("the environment of adder was not made: no such version")

    monkeypatch.setattr(process, "environment", missing)
    row = contest(contest_of([1, 3, 7], []), WORKLOAD, given)
    assert row.ratio is row.ours is row.theirs is row.outputs_agree is None
    assert "no such version" in row.note and row.floor == 2.0
    assert "MISSING, sums was not compared" in capsys.readouterr().out


def test_an_environment_is_made_once_and_anew_for_other_requirements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)
        wrong = "wrong==1" in command
        return subprocess.CompletedProcess(command, int(wrong), "", "WARNING: slow\nERROR: no such version\n")

    monkeypatch.setattr(subprocess, "run", run)
    peer = Peer("adder", ("adder==1.0",), alone=("sums==2.0",))
    python = environment(peer, tmp_path)
    assert python == tmp_path / "adder" / "bin" / "python" and len(commands) == 3
    assert commands[1][-1] == "adder==1.0" and commands[2][-2:] == ["--no-deps", "sums==2.0"]
    assert environment(peer, tmp_path) == python and len(commands) == 3
    environment(PEER, tmp_path)
    assert len(commands) == 5
    with pytest.raises(PeerMissing, match="environment of adder was not made: ERROR: no such version"):
        environment(Peer("adder", ("wrong==1",)), tmp_path)
    environment(PEER, tmp_path)
    assert len(commands) == 9, "what failed was taken for an environment"


def test_code_on_no_registry_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (None, tmp_path / "absent"):
        monkeypatch.setitem(tools.CHECKOUTS, "cc_net", folder)
        with pytest.raises(PeerMissing, match=r"no folder of cc_net was given: clone .* --cc-net FOLDER"):
            environment(tools.cc_net(), tmp_path)


def test_requirements_of_peers_are_pinned() -> None:
    peers = [value for value in vars(tools).values() if isinstance(value, Peer)]
    assert len(peers) > 4
    for peer in peers:
        assert all("==" in requirement for requirement in peer.requirements + peer.alone), peer.name


@pytest.mark.parametrize("side", sorted(SIDES.glob("*.py")), ids=lambda path: path.stem)
def test_every_side_has_its_three_functions(side: Path) -> None:
    tree = ast.parse(side.read_text())
    assert {"prepare", "work", "outcome"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert ast.get_docstring(tree)
    modules = [path.read_text() for path in SIDES.parents[1].glob("*.py")]
    assert any(f'"{side.stem}"' in text for text in modules), "no benchmark uses it"


def test_estimates_are_compared_by_their_errors() -> None:
    words = [first + second for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmno"]
    pairs = signatures_peers.edited_pairs([" ".join(words)] * 10)
    exact = [signatures_peers.jaccard(*pair) for pair in pairs]
    assert len(pairs) == 10 and 0 < min(exact) < 0.5 < max(exact) < 1
    good = [([1] * 100, [1] * round(100 * value) + [0] * (100 - round(100 * value))) for value in exact]
    assert "error of the estimate 0.00" in signatures_peers.errors(exact, good, good)
    with pytest.raises(DifferentOutputs, match="error of the estimate"):
        signatures_peers.errors(exact, [([1], [1])] * 10, good)


def test_quality_is_of_words_and_segments() -> None:
    article = gold.GoldPage("1", b"", None, {"type": "article", "text": "The mill stands"}, "somebody/articles")
    page = gold.GoldPage("2", b"", None, {"type": "segments", "with": ["keep"], "without": ["drop"]}, "segments")
    best = gold.quality([article, page], ["the MILL stands", "we keep this"])
    worse = gold.quality([article, page], ["the mill", "keep and drop"])
    assert best.f1 == {"somebody/articles": 1.0} and best.segments == 1.0
    assert worse.f1["somebody/articles"] == pytest.approx(0.8) and worse.segments == 0.5
    assert best.no_worse_than(worse) and not worse.no_worse_than(best)
    assert "no worse" not in extraction.qualities([article, page], ["the mill stands", "keep"], ["the mill", "drop"])
    with pytest.raises(DifferentOutputs, match="ours is worse"):
        extraction.qualities([article, page], ["the mill", "keep"], ["the mill stands", "keep"])
    pages = [["2", "keep"], ["3", "other"]]
    assert "2 pages, the peer's 1" in archive_texts.qualities([page], pages, [["2", "drop"]])
    with pytest.raises(DifferentOutputs, match="ours are worse"):
        archive_texts.qualities([page], [["2", "drop"]], [["2", "keep"]])


def test_our_sides_give_what_is_compared() -> None:
    assert paragraphs.kept(["own\nshared\nown", "Shared…", ""]) == ["own", None, None]
    good = " ".join(["the mill of the river and that wheel"] + [f"word{number} stands" for number in range(60)])
    assert heuristics.verdicts([good, "too short"]) == [True, False]
    assert "Gopher's verdict is the same for 1 of 2" in heuristics.same_verdicts([True, False], [True, True])
