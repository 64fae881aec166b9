"""A classifier of two kinds of pages: the file of fastText, and nothing but the text that tells the kinds apart.

fastText's own command line was built from the source of 0.9.3 (github.com/facebookresearch/fastText, its Makefile
without -march=native, as the package is built). With ``fasttext supervised -input FILE -output x -thread 1`` and the
lines of `training_lines` below, its file was that of `train`, byte for byte. Sums of floats can differ by processor, so
the digest that is kept is that of ``-epoch 0``: header, words and the matrices before the first step.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.tables import ContentDigest
from tasks.fasttext_training import CLEAR_MEMORY, train
from tasks.model_files import FIT_REPORT as REPORT
from tasks.text.fasttext_line import LABEL
from tasks.text.urls import domain_of
from tasks.text_classifier import fit_chosen, fit_text_classifier
from tasks.text_classifier.candidates import ROWS, find_candidates
from tasks.text_classifier.choice import HELD_OUT, TRAINED, Spool, choose
from tasks.text_classifier.config import MODEL, TextClassifierConfig
from tests.tasks.text_classifier.pages import CITED, CRAWL, Page, pages, tables, words

DEFAULTS = TextClassifierConfig(positive=(CITED,))
# Few pages need more steps.
CONFIG = DEFAULTS.model_copy(
    update={"minimum_documents": 20, "held_out_every": 3, "fewest_words": 2, "learning_rate": 1.0, "epochs": 20}
)
# The files of fastText's command line, for the lines of `training_lines`.
COMMAND_LINE = {
    1: "492a949b6adc3e46c2fffaa1e532ad96920ba9a1da7344149c9fa105827f0093",
    2: "b7e9b9fa420c4fecc3c5ef4f7d46f94ed3c5d82564fad07dfce88df9093c20ed",
}


def fit(found: list[Page], folder: Path, config: TextClassifierConfig = CONFIG, **more: Any) -> dict[str, Any]:
    """Fit, and return the report."""
    folder.mkdir(parents=True)
    files = fit_text_classifier(tables(found, **more), config, folder)
    assert set(files) == {MODEL, REPORT} == {path.name for path in folder.iterdir()}
    report: dict[str, Any] = json.loads(files[REPORT].read_text())
    return report


def training_lines(path: Path) -> Path:
    """400 lines of two labels."""
    rng = random.Random(7)
    kinds = {CITED: "positive", CRAWL: "negative"}
    lines = [
        f"{LABEL}{label} {words(rng, kind, rng.randrange(5, 60))}\n"
        for kind, label in kinds.items()
        for _ in range(200)
    ]
    rng.shuffle(lines)
    path.write_text("".join(lines))
    return path


def test_the_classifier_tells_new_pages_apart_and_says_how_well(tmp_path: Path) -> None:
    report = fit(pages(), tmp_path / "a")
    assert report["auc"] > 0.95
    trained, held_out = report["positive"]["trained"], report["positive"]["held_out"]
    assert (trained, held_out) == (report["negative"]["trained"], report["negative"]["held_out"])
    assert report["positive"]["candidates"] == 200 and 20 <= held_out < trained
    kept = report["kept"]["0.25"]
    assert kept["positive"] >= 0.9 > kept["negative"]


def test_words_that_are_too_few_to_count_are_an_error_and_lines_without_any_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no word stands 100,000 times in the lines: lower minimum_count"):
        fit(pages(), tmp_path / "none", CONFIG.model_copy(update={"minimum_count": 100_000}))
    # One word is known. It stands often in few pages, and the line end, which has a number of its own, more seldom.
    often = [
        (name, kind, url, "known " * 90 if n % 4 == 0 else text) for n, (name, kind, url, text) in enumerate(pages())
    ]
    often = [(name, kind, url, f"{name} {text}") for name, kind, url, text in often]  # no page twice
    report = fit(often, tmp_path / "one", CONFIG.model_copy(update={"minimum_count": 1000}))
    assert 0 < report["held_out_without_known_word"] < 2 * report["positive"]["held_out"]


def test_the_files_do_not_depend_on_the_order_or_the_tables(tmp_path: Path) -> None:
    found = pages()
    shuffled = random.Random(3).sample(found, len(found))
    reports = [fit(found, tmp_path / "a"), fit(shuffled, tmp_path / "b", size=17)]
    assert reports[0] == reports[1]
    assert (tmp_path / "a" / MODEL).read_bytes() == (tmp_path / "b" / MODEL).read_bytes()
    other = fit(found, tmp_path / "c", CONFIG.model_copy(update={"seed": 1}))
    assert other["training_file_sha256"] != reports[0]["training_file_sha256"]


def test_the_length_of_pages_tells_nothing(tmp_path: Path) -> None:
    """RedPajama's positive pages had 1,000 characters and more, and its negative ones any number."""
    rng = random.Random(5)
    lengths = {CITED: (200, 600), CRAWL: (20, 250)}
    found = [
        (f"{kind}/{n}", kind, f"http://{kind}{n}.example/", words(rng, CITED, rng.randrange(*lengths[kind])))
        for kind in lengths
        for n in range(150)
    ]
    report = fit(found, tmp_path / "a")
    assert report["auc_of_length"]["as_trained"] == 0.5 and report["auc_of_length"]["whole"] > 0.95
    assert abs(report["auc"] - 0.5) < 0.2


def test_both_kinds_lose_the_ends_of_their_pages(tmp_path: Path) -> None:
    """A cut page has no last line, such as a notice of copyright, and an uncut one has."""
    rng = random.Random(5)
    lengths = {CITED: (200, 600), CRAWL: (60, 250)}
    found = [
        (
            f"{kind}/{n}",
            kind,
            f"http://{kind}{n}.example/",
            f"{words(rng, CITED, rng.randrange(*lengths[kind]))} the end",
        )
        for kind in lengths
        for n in range(150)
    ]
    lines = lines_of(found, tmp_path)
    assert len(lines) > 100 and not any("the end" in line for line in lines)


def lines_of(found: list[Page], folder: Path, part: str = TRAINED, config: TextClassifierConfig = CONFIG) -> list[str]:
    with Spool(folder / "spool") as spool:
        for table in tables(found):
            for row in find_candidates(table, config).to_pylist()[:-1]:
                spool.add(row["label"], row["rank"], row["site"], row["words"], row["text"])
        chosen, _ = choose(spool.candidates, config)
        return [f"{line.label} {spool.text(line)}" for line in chosen[part]]


def test_no_site_is_trained_on_and_measured_with(tmp_path: Path) -> None:
    """Each site has a word of its own, and is of one kind: without the split by site it would tell all."""
    rng = random.Random(9)
    found = [
        (f"{kind}/{n}", kind, f"https://{n}.{kind}{n % 30}.co.uk/{n}", f"{kind}{n % 30} " * 5 + words(rng, CITED, 60))
        for kind in (CITED, CRAWL)
        for n in range(240)
    ]
    marks = [{line.split()[1] for line in lines_of(found, tmp_path, part)} for part in (TRAINED, HELD_OUT)]
    assert all(marks) and not marks[0] & marks[1]
    assert abs(fit(found, tmp_path / "a")["auc"] - 0.5) < 0.2


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_both_kinds_stand_everywhere_among_the_lines(tmp_path: Path, rate: float) -> None:
    """Of 60 and 1,200 pages as many are chosen. Steps on one kind alone at the end would undo those before."""
    found = [page for page in pages(1200, 400) if page[1] == CRAWL or int(page[0].partition("/")[2]) < 60]
    labels = [
        line.split()[0] for line in lines_of(found, tmp_path, config=CONFIG.model_copy(update={"negative_rate": rate}))
    ]
    places = [place / len(labels) for place, label in enumerate(labels) if label == "positive"]
    assert len(places) * 2 == len(labels) > 40 and 0.35 < sum(places) / len(places) < 0.65


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://news.bbc.co.uk/1/hi/x?y", "bbc.co.uk"),
        ("http://a.example.org:8080/", "example.org"),
        ("http://someone.blogspot.com/", "someone.blogspot.com"),  # a suffix of the list's private part
        ("http://192.0.2.7/x", "192.0.2.7"),
        ("http://localhost/x", "localhost"),
        ("http://[/red]x", None),
        ("mill", None),
        ("", None),
        (None, None),
    ],
)
def test_sites(url: str | None, site: str | None) -> None:
    assert domain_of(url) == site


def test_one_site_does_not_dominate_and_no_page_counts_twice(tmp_path: Path) -> None:
    found = pages(100, 50)
    rng = random.Random(2)
    one_site = [(f"cited/more{n}", CITED, f"http://big.example/{n}", words(rng, CITED, 80)) for n in range(60)]
    copies = [(f"cited/copy{n}", CITED, None, found[0][3]) for n in range(5)]
    crossing = [(f"crawl/cited{n}", CRAWL, None, found[n][3]) for n in range(7)]
    config = CONFIG.model_copy(update={"most_per_site": 10})
    report = fit([*found, *one_site, *copies, *crossing], tmp_path / "a", config)
    assert report["positive"]["same_site"] == 50 and report["positive"]["duplicate"] == 5
    assert report["negative"]["also_positive"] == 7
    for label in ("positive", "negative"):
        counts = report[label]
        left = sum(counts.get(name, 0) for name in ("duplicate", "same_site", "also_positive", "surplus"))
        assert counts["candidates"] == counts["trained"] + counts["held_out"] + left


def test_what_does_not_count_is_counted(tmp_path: Path) -> None:
    found = pages(150)
    found += [(f"crawl/short{n}", CRAWL, None, "one") for n in range(4)]
    languages = ["en"] * 290 + ["de"] * 9 + [None] + ["en"] * 4
    config = CONFIG.model_copy(update={"language": "en"})
    assert (
        fit(found, tmp_path / "a", config, languages=languages)["negative"].items()
        >= {
            "other_language": 10,
            "short": 4,
            "candidates": 140,
        }.items()
    )
    half = fit(found, tmp_path / "b", CONFIG.model_copy(update={"negative_rate": 0.5}))
    assert 50 < half["negative"]["not_sampled"] < 105 and half["positive"]["candidates"] == 150
    assert "not_sampled" not in half["positive"]


def test_words_that_are_special_to_fasttext_are_text_in_the_lines(tmp_path: Path) -> None:
    found = [(i, s, u, f"__label__positive </s> {t}\n__label__x\u2028</s>") for i, s, u, t in pages(60)]
    for line in lines_of(found, tmp_path):
        assert LABEL not in line and " </s> " not in line and "\n" not in line and "_ _label__positive" in line


def test_too_few_pages_are_refused_with_what_became_of_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs 500 documents of each class.*positive: 200 candidates"):
        fit(pages(), tmp_path / "a", CONFIG.model_copy(update={"minimum_documents": 500}))
    with pytest.raises(ValueError, match="of each class"):
        fit([page for page in pages() if page[1] == CRAWL], tmp_path / "b")


def test_a_class_may_come_from_one_site_where_that_is_said(tmp_path: Path) -> None:
    found = [(i, s, u if s == CRAWL else "https://en.wikipedia.org/wiki/Mill", t) for i, s, u, t in pages()]
    with pytest.raises(ValueError, match="for a class from few sites, by_site: false"):
        fit(found, tmp_path / "a")
    report = fit(found, tmp_path / "b", CONFIG.model_copy(update={"by_site": False}))
    assert report["auc"] > 0.9 and "same_site" not in report["positive"]


def test_rows_of_a_shard_can_be_stored(tmp_path: Path) -> None:
    rows = [find_candidates(table, CONFIG) for table in tables(pages(30))]
    ContentDigest(rows[0].schema).update(pa.concat_tables(rows))  # raises TypeError for columns that no part can have
    assert all(table.schema == ROWS for table in rows)
    assert find_candidates(next(tables(pages(1))).slice(0, 0), CONFIG).num_rows == 1
    whole = fit_chosen([find_candidates(table, CONFIG) for table in tables(pages())], CONFIG, tmp_path)
    assert whole[MODEL].read_bytes()[:4] == (793712314).to_bytes(4, "little")


@pytest.mark.parametrize("word_ngrams", [1, 2])
def test_the_file_is_that_of_the_command_line(tmp_path: Path, word_ngrams: int) -> None:
    """The options, words and first matrices: what no processor changes."""
    config = DEFAULTS.model_copy(update={"epochs": 0, "dimensions": 10, "word_ngrams": word_ngrams, "buckets": 1000})
    train(training_lines(tmp_path / "lines"), config.options(), tmp_path / "model.bin")
    assert hashlib.sha256((tmp_path / "model.bin").read_bytes()).hexdigest() == COMMAND_LINE[word_ngrams]


def test_the_file_is_that_of_fasttext_in_a_new_process(tmp_path: Path) -> None:
    """fastText 0.9.3 reads memory that it has not set, so in this process, which has used memory, it gives others."""
    lines = training_lines(tmp_path / "lines")
    train(lines, DEFAULTS.options(), tmp_path / "ours.bin")
    code = f"import fasttext; fasttext.train_supervised({str(lines)!r}, thread=1, verbose=0).save_model('theirs.bin')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=CLEAR_MEMORY, check=True)
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "theirs.bin").read_bytes()


def test_options_are_the_defaults_of_the_command_line(tmp_path: Path) -> None:
    """Those that the file has (Args::save): dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn,
    lrUpdateRate and t. The loss 3 is softmax, the model 3 supervised."""
    train(training_lines(tmp_path / "lines"), DEFAULTS.options(), tmp_path / "model.bin")
    saved = struct.unpack_from("<2i12id", (tmp_path / "model.bin").read_bytes())
    assert saved[1:] == (12, 100, 5, 5, 1, 5, 1, 3, 3, 0, 0, 0, 100, 1e-4)


def test_a_learning_rate_that_is_too_high_says_so(tmp_path: Path) -> None:
    lines = training_lines(tmp_path / "lines")
    with pytest.raises(ValueError, match="lower learning_rate"):
        train(lines, {**DEFAULTS.options(), "lr": 1e30}, tmp_path / "model.bin")


def test_origins_that_give_one_class_are_refused() -> None:
    with pytest.raises(ValueError, match="positive names cited, which is not in on"):
        CONFIG.refuse_origins(["crawl"])
    with pytest.raises(ValueError, match="add one with negative documents"):
        CONFIG.refuse_origins(["cited"])
    CONFIG.refuse_origins(["cited", "crawl"])
