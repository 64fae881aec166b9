import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sentencepiece

from infra import kenlm_tools
from infra.kenlm_tools import KenlmToolsMissing
from infra.stage import PARTIAL
from infra.tables import ContentDigest
from tasks.language_models import (
    LanguageModelsConfig,
    fit_language_models,
    fit_languages,
    join_cutoffs,
    split_languages,
)
from tasks.perplexity import PerplexityConfig, load_perplexity_models, score_perplexity
from tasks.text.normalise import normalise_for_scoring

Row = tuple[str, str | None, float | None]
CONFIG = LanguageModelsConfig(vocabulary_size=400, order=3, minimum_documents=200)


def table(rows: Sequence[Row]) -> pa.Table:
    texts, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "text": pa.array(texts, pa.string()),
            "language.label": pa.array(labels, pa.string()),
            "language.score": pa.array(scores, pa.float64()),
        }
    )


def cut(rows: Sequence[Row], size: int) -> Iterator[pa.Table]:
    for start in range(0, len(rows), size):
        yield table(rows[start : start + size])


def fit(rows: Sequence[Row], folder: Path, size: int = 100, **changes: object) -> dict[str, Path]:
    folder.mkdir()
    return fit_language_models(cut(rows, size), CONFIG.model_copy(update=changes), folder)


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> Sequence[Row]:
    """Real sentences in five languages, turn about; 50 of one of them, one without a label, some with a low score."""
    sentences = {}
    with tarfile.open(shared_data / "language-id" / "lingua75" / "lingua75.tar.xz") as archive:
        for language, count in {"en": 250, "de": 250, "ja": 250, "fr": 50, "ru": 300}.items():
            stream = archive.extractfile(f"{language}/sentences.txt")
            assert stream is not None
            sentences[language] = stream.read().decode().splitlines()[:count]
    mixed: list[Row] = [("no label", None, None)]
    for position in range(300):
        for language, lines in sentences.items():
            if position < len(lines):
                mixed.append((lines[position], language, 0.49 if language == "ru" and position % 2 else 0.99))
    return mixed


@pytest.fixture(scope="module")
def fitted(rows: Sequence[Row], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return fit(rows, tmp_path_factory.mktemp("fit") / "models")


def test_languages_with_enough_documents_get_models(fitted: dict[str, Path]) -> None:
    assert sorted(fitted) == sorted(
        ["cutoffs.json", *(f"{name}{suffix}" for name in ("de", "en", "ja") for suffix in (".sp.model", ".arpa.bin"))]
    )
    [folder] = {path.parent for path in fitted.values()}
    assert sorted(folder.iterdir()) == sorted(fitted.values())
    cutoffs = json.loads(fitted["cutoffs.json"].read_text())
    assert cutoffs["without_model"] == {"fr": 50, "ru": 150}
    assert cutoffs["languages"]["en"]["documents"] == 250
    assert cutoffs["languages"]["en"]["held_back"] == 25
    assert cutoffs["parameters"] == CONFIG.model_dump(mode="json")


def test_the_same_documents_give_the_same_bytes(rows: Sequence[Row], fitted: dict[str, Path], tmp_path: Path) -> None:
    again = fit(rows, tmp_path / "elsewhere", size=77)
    assert {name: path.read_bytes() for name, path in again.items()} == {
        name: path.read_bytes() for name, path in fitted.items()
    }


def test_percentiles_are_those_of_the_held_back_documents(rows: Sequence[Row], fitted: dict[str, Path]) -> None:
    german = [text for text, language, _ in rows if language == "de"]
    held_back = german[9::10]
    models = load_perplexity_models(PerplexityConfig(), fitted)
    batch = pa.table({"text": held_back, "language.label": ["de"] * len(held_back)})
    annotations = score_perplexity(batch, PerplexityConfig(), models)
    expected = np.percentile(annotations["perplexity"].to_numpy(), [0, 30, 60]).round(1)
    assert [models.percentiles["de"][index] for index in (0, 30, 60)] == expected.tolist()
    buckets = annotations["bucket"].to_pylist()
    assert [buckets.count(name) for name in ("head", "middle", "tail")] == [8, 7, 10]


def test_each_model_prefers_its_own_language(rows: Sequence[Row], fitted: dict[str, Path]) -> None:
    models = load_perplexity_models(PerplexityConfig(), fitted)
    for own, other in [("en", "de"), ("de", "en")]:
        scorer = models.scorer(own)
        assert scorer is not None
        own_scores, other_scores = (
            [scorer.perplexity(normalise_for_scoring(text)) for text, label, _ in rows if label == language][9::10]
            for language in (own, other)
        )
        assert np.median(np.array(own_scores, float)) < 0.8 * np.median(np.array(other_scores, float))


def test_held_back_documents_stay_out_of_the_models(tmp_path: Path, rows: Sequence[Row]) -> None:
    english = [row for row in rows if row[1] == "en"]
    changed = [(f"{row[0]} зюганов" if number % 10 == 9 else row[0], "en", 0.9) for number, row in enumerate(english)]
    plain = fit(english, tmp_path / "plain")
    other = fit(changed, tmp_path / "other")
    for name in ("en.sp.model", "en.arpa.bin"):
        assert plain[name].read_bytes() == other[name].read_bytes()
    assert plain["cutoffs.json"].read_bytes() != other["cutoffs.json"].read_bytes()


def test_only_the_first_documents_count_beyond_the_maximum(tmp_path: Path, rows: Sequence[Row]) -> None:
    english = [row for row in rows if row[1] == "en"]
    limited = fit(english, tmp_path / "limited", maximum_documents=200)
    first = fit(english[:200], tmp_path / "first", maximum_documents=200)
    assert {n: p.read_bytes() for n, p in limited.items()} == {n: p.read_bytes() for n, p in first.items()}


def test_the_vocabulary_holds_a_large_script(fitted: dict[str, Path]) -> None:
    sizes = {
        name: sentencepiece.SentencePieceProcessor(model_file=str(fitted[f"{name}.sp.model"])).get_piece_size()
        for name in ("en", "ja")
    }
    assert sizes["en"] <= 400 < sizes["ja"]


def test_hard_documents_do_not_end_the_fit(tmp_path: Path, rows: Sequence[Row]) -> None:
    hard = ["<s> </s> <unk>", "", "\x00", "😀" * 3, "word " * 3000, "無" * 9000, "x" * 9000, "<s>", "a\u2028b\u00a0c"]
    english = [row for row in rows if row[1] == "en"] + [(text, "en", 1.0) for text in hard for _ in range(2)]
    files = fit(english, tmp_path / "hard")
    models = load_perplexity_models(PerplexityConfig(), files)
    batch = pa.table({"text": hard, "language.label": ["en"] * len(hard)})
    perplexities = score_perplexity(batch, PerplexityConfig(), models)["perplexity"].to_pylist()
    assert [value is None for value in perplexities] == [False, True, True, *[False] * 6]


def test_nothing_to_fit_gives_cut_offs_alone(tmp_path: Path) -> None:
    files = fit([], tmp_path / "empty")
    assert list(files) == ["cutoffs.json"]
    assert load_perplexity_models(PerplexityConfig(), files).scorer("en") is None


def test_a_label_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'\.\./en' cannot name a file"):
        fit([("text", "../en", 0.9)], tmp_path / "models")


def test_missing_tools_end_the_fit_with_the_cure(
    tmp_path: Path, rows: Sequence[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("cache_folder", "environment_folder"):
        monkeypatch.setattr(kenlm_tools, folder, lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KenlmToolsMissing, match="apt-get install"):
        fit(rows, tmp_path / "models")


def test_bounds_that_leave_nothing_held_back_are_refused() -> None:
    with pytest.raises(ValueError, match="each language holds back a document"):
        LanguageModelsConfig(minimum_documents=5, held_back_every=10)


def test_the_models_of_languages_are_fitted_in_units_of_their_own(
    rows: Sequence[Row], fitted: dict[str, Path], tmp_path: Path
) -> None:
    """By partitions, as the engine does: the files of one process."""
    split = [split_languages(table, CONFIG) for table in cut(rows, 77)]
    whole = pa.concat_tables(split)
    ContentDigest(whole.schema).update(whole)  # raises TypeError for columns that no part can have
    assert len(set(whole["partition"].to_pylist())) == len(set(whole["language"].to_pylist())) == 5
    found: dict[str, Path] = {}
    for partition in set(whole["partition"].to_pylist()):
        folder = tmp_path / str(partition)
        folder.mkdir()
        rows_of = [table.filter(pc.equal(table["partition"], partition)) for table in split]
        found |= fit_languages(rows_of, CONFIG, folder)
    partial = {name: path for name, path in found.items() if name.endswith(PARTIAL)}
    found |= join_cutoffs(partial, CONFIG, tmp_path)
    assert {name: path.read_bytes() for name, path in found.items() if name not in partial} == {
        name: path.read_bytes() for name, path in fitted.items()
    }
