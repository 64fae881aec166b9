"""Near-duplicates from texts to the choice: who goes, because of whom, and that nobody is missed."""

from __future__ import annotations

import itertools
import json
import random
import re
import tarfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import strategies

from infra.engine.partitioned import PartitionedPlan
from infra.engine.plans import ConfiguredStage, PassPlan, SourcePlan
from infra.engine.pool import LocalPool
from infra.engine.shards import PartReader
from infra.engine.views import Annotation, View
from infra.stage import find_stage
from infra.store.inputs import take_inventory
from infra.store.lake import Lake
from infra.tables import read_table
from tasks.near_duplicates import near_duplicates
from tasks.near_duplicates.config import NearDuplicateConfig
from tasks.signatures import SignatureConfig, signatures
from tests.infra.engine import toy
from tests.tasks.near_duplicates.choosing import Fate, fates_of
from tests.tasks.partitioned import run_partitioned
from tests.tasks.test_signatures import batch_of, datasketch_values, read_articles
from tests.tasks.text.test_words import words_of

EVERY_PAIR = {"bands": 128, "rows": 1}  # a pair with anything in common is compared


def ngrams(text: str, width: int) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[i : i + width]) for i in range(max(len(words) - width + 1, 1))} if words else set()


def jaccard(left: str, right: str, width: int) -> float:
    one, other = ngrams(left, width), ngrams(right, width)
    return len(one & other) / len(one | other) if one | other else 0.0


def containment(goes: str, stays: str) -> float:
    width = min(3, len(words_of(goes)))
    return len(ngrams(goes, width) & ngrams(stays, width)) / len(ngrams(goes, width)) if width else 1.0


def check_survivors(texts: list[str], fates: list[Fate], threshold: float, similarity: object) -> None:
    """Every document that went names one that stays, with the figure that brute force gives."""
    for fate in fates:
        if not fate.stays:
            assert fate.match is not None and fates[int(fate.match)].stays, fate
            exact = similarity(texts[int(fate.id)], texts[int(fate.match)])  # type: ignore[operator]
            assert fate.similarity == pytest.approx(exact, abs=1e-6) and exact >= threshold


def edited(text: str, edits: int, chooser: random.Random) -> str:
    """The text with some words replaced by new ones."""
    words = text.split()
    for place in chooser.sample(range(len(words)), min(edits, len(words))):
        words[place] = f"new{chooser.randrange(10**9)}"
    return " ".join(words)


def test_the_stage_can_be_found_by_its_reference() -> None:
    assert find_stage(near_duplicates.reference) is near_duplicates


def test_articles_with_labelled_copies(shared_data: Path) -> None:
    texts = [article["text"] for article in read_articles(shared_data)]
    names = [article["id"] for article in read_articles(shared_data)]
    folder = shared_data / "near-duplicates" / "articles"
    exact = [line.split("\t") for line in (folder / "pairs_exact_jaccard5.tsv").read_text().splitlines()[1:]]
    expected = {frozenset((one, other)): float(index) for index, one, other in exact if float(index) >= 0.8}
    labelled = [line.split() for line in (folder / "pairs_labelled.tsv").read_text().splitlines() if line]
    fates = fates_of(texts, NearDuplicateConfig(), size=170, partitions=3)
    found = {
        frozenset((names[number], names[int(fate.match or -1)])): fate.similarity
        for number, fate in enumerate(fates)
        if not fate.stays
    }
    assert found.keys() == expected.keys() and {frozenset(pair) for pair in labelled} <= found.keys()
    for pair, value in found.items():
        assert value == pytest.approx(expected[pair], abs=5.1e-5)
    check_survivors(texts, fates, 0.8, lambda one, other: jaccard(one, other, 5))


def test_revised_editions_of_one_text_at_the_threshold_of_opt(shared_data: Path) -> None:
    """All three pairs of the Declaration of Human Rights of at least 0.95 are found."""
    with tarfile.open(shared_data / "language-id" / "udhr" / "udhr2-utf8.tar.xz") as files:
        members = {Path(item.name).name: files.extractfile(item) for item in files if item.isfile()}
        texts = {name: stream.read().decode() for name, stream in members.items() if stream is not None}
    listed = (shared_data / "near-duplicates" / "udhr-jaccard" / "pairs_exact_jaccard5.tsv").read_text()
    pairs = [line.split("\t") for line in listed.splitlines()[1:]]
    close = {frozenset(pair) for index, *pair in pairs if float(index) >= 0.95}
    names = list(texts)
    fates = fates_of(list(texts.values()), NearDuplicateConfig(threshold=0.95))
    found = {frozenset((names[i], names[int(f.match or -1)])) for i, f in enumerate(fates) if not f.stays}
    assert len(close) == 3 and close <= found


def test_the_end_of_a_chain_stays() -> None:
    """A, B and C are edited in turn. C was never near A, so it does not go with B."""
    chooser = random.Random(5)
    first = " ".join(f"word{number}" for number in range(400))
    second = edited(first, 8, chooser)
    third = edited(second, 8, chooser)
    assert jaccard(first, second, 5) > 0.8 < jaccard(second, third, 5) and jaccard(first, third, 5) < 0.8
    texts = [first, second, third]
    assert [fate.stays for fate in fates_of(texts, NearDuplicateConfig(), ("first",))] == [True, False, True]
    chained = fates_of(texts, NearDuplicateConfig(mode="components"), ("first",))
    assert [fate.stays for fate in chained] == [True, False, False]
    assert [fate.match for fate in chained[1:]] == ["0", "1"]


def test_the_centre_of_a_star_goes_and_its_points_stay() -> None:
    chooser = random.Random(6)
    centre = " ".join(f"word{number}" for number in range(400))
    points = [edited(centre, 8, chooser) + f" and some more words for point {number}" for number in range(6)]
    texts = [centre, *points]
    fates = fates_of(texts, NearDuplicateConfig())
    assert [fate.stays for fate in fates] == [False, *[True] * 6]
    check_survivors(texts, fates, 0.8, lambda one, other: jaccard(one, other, 5))
    assert [fate.stays for fate in fates_of(texts, NearDuplicateConfig(), ("first",))] == [True, *[False] * 6]


def test_what_fails_a_rule_is_no_reason_to_go() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    texts = [text + " longest of all", text + " longer", text]
    outcomes = {"rules.outcome": ["language:dropped:low_score", "", ""]}
    config = NearDuplicateConfig()
    fates = fates_of(texts, config, **outcomes)
    assert [(fate.stays, fate.match) for fate in fates] == [(False, None), (True, None), (False, "1")]


SOME_TEXT = strategies.lists(strategies.sampled_from(["ant", "bee", "cat", "dog"]), max_size=9).map(" ".join)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    strategies.lists(SOME_TEXT, min_size=1, max_size=14), strategies.integers(1, 6), strategies.integers(1, 4)
)
def test_survivors_against_brute_force(texts: list[str], size: int, partitions: int) -> None:
    config = NearDuplicateConfig(shingle_words=2, threshold=0.6, **EVERY_PAIR)
    fates = fates_of(texts, config, ("longest",), size=size, partitions=partitions)
    stays: list[int] = []
    for number in sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i)):
        if not any(jaccard(texts[number], texts[other], 2) >= 0.6 for other in stays):
            stays.append(number)
    assert [int(fate.id) for fate in fates if fate.stays] == sorted(stays)
    check_survivors(texts, fates, 0.6, lambda one, other: jaccard(one, other, 2))


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(strategies.lists(SOME_TEXT, min_size=1, max_size=14), strategies.integers(1, 6))
def test_components_against_brute_force(texts: list[str], size: int) -> None:
    config = NearDuplicateConfig(shingle_words=2, threshold=0.6, mode="components", **EVERY_PAIR)
    fates = fates_of(texts, config, ("longest",), size=size, partitions=3)
    label = list(range(len(texts)))
    for _ in texts:
        for i, j in itertools.combinations(range(len(texts)), 2):
            if jaccard(texts[i], texts[j], 2) >= 0.6:
                label[i] = label[j] = min(label[i], label[j])
    best = {
        group: min((i for i in range(len(texts)) if label[i] == group), key=lambda i: (-len(texts[i]), i))
        for group in set(label)
    }
    assert [fate.stays for fate in fates] == [best[label[i]] == i for i in range(len(texts))]
    for fate in fates:
        if not fate.stays:
            assert jaccard(texts[int(fate.id)], texts[int(fate.match or -1)], 2) >= 0.6


def test_the_mode_of_the_pile_is_what_its_script_did(shared_data: Path) -> None:
    """Its loop, over datasketch's own index: a document goes if a query finds another that is still there."""
    chooser = random.Random(2)
    base = [article["text"] for article in read_articles(shared_data)[:150]]
    texts = [edited(text, edits, chooser) for text in base for edits in (0, 3, 9)]
    chooser.shuffle(texts)
    config = NearDuplicateConfig(mode="pile_dedupe", threshold=0.87)
    index = MinHashLSH(num_perm=128, params=config.bands_and_rows())
    minhashes = [MinHash(hashvalues=datasketch_values(text, config.signatures()), scheme="affine32") for text in texts]
    for number, minhash in enumerate(minhashes):
        index.insert(number, minhash)
    stays = [True] * len(texts)
    for number, minhash in enumerate(minhashes):
        if any(other != number for other in index.query(minhash)):
            index.remove(number)
            stays[number] = False
    assert sum(stays) < len(texts) - 100
    for partitions in (1, 3):
        fates = fates_of(texts, config, ("first",), size=100, partitions=partitions)
        assert [fate.stays for fate in fates] == stays


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_recall_of_edited_copies_of_real_texts(shared_data: Path, threshold: float) -> None:
    """Of pairs at least 0.05 above the threshold, 99.9 % are found; of those below it, none."""
    chooser = random.Random(int(threshold * 100))
    articles = [" ".join(article["text"].split()[:300]) for article in read_articles(shared_data)[:500]]
    texts, pairs = [], []
    for number, article in enumerate(articles):
        copy = edited(article, number % 40 * len(article.split()) // 300, chooser)
        texts += [article, copy]
        pairs.append(jaccard(article, copy, 5))
    found = [not fate.stays for fate in fates_of(texts, NearDuplicateConfig(threshold=threshold), ("first",))][1::2]
    hits = np.array(found)
    exact = np.array(pairs)
    due = exact >= min(threshold + 0.05, 1.0)
    assert due.sum() >= 12 and (~hits[due]).sum() <= 0.001 * due.sum()
    assert hits[exact >= threshold].mean() >= 0.97
    check = fates_of(texts, NearDuplicateConfig(threshold=threshold), ("first",))
    check_survivors(texts, check, threshold, lambda one, other: jaccard(one, other, 5))


def test_short_texts_planted_in_long_ones(shared_data: Path) -> None:
    """Containment finds 99 % of texts that stand in others 2 to 100 times as long; nothing is lost with them."""
    chooser = random.Random(9)
    words = " ".join(article["text"] for article in read_articles(shared_data)).split()
    texts = []
    for number in range(400):
        length = chooser.randint(30, 120)
        short = [f"own{number}" if place % 17 == 3 else words[chooser.randrange(len(words))] for place in range(length)]
        # Words of real texts in a new order: the long texts must not stand in each other.
        around = chooser.choices(words, k=length * (1 + number % 99))
        at = chooser.randrange(len(around))
        texts += [" ".join(short), " ".join([*around[:at], *short, *around[at:]])]
    config = NearDuplicateConfig(similarity="containment", threshold=1.0)
    fates = fates_of(texts, config, size=150, partitions=2)
    assert sum(not fate.stays for fate in fates[::2]) >= 396
    check_survivors(texts, fates, 1.0, containment)
    assert all(fate.lost == 0 for fate in fates if not fate.stays)
    partly = [edited(text, len(text.split()) // 25, chooser) if i % 2 == 0 else text for i, text in enumerate(texts)]
    looser = fates_of(partly, NearDuplicateConfig(similarity="containment", threshold=0.8), size=150)
    due = [containment(partly[i], partly[i + 1]) >= 0.8 for i in range(0, len(partly), 2)]
    hit = [not fate.stays for fate in looser[::2]]
    assert sum(due) > 300 and sum(h for h, d in zip(hit, due, strict=True) if d) >= 0.99 * sum(due)
    check_survivors(partly, looser, 0.8, containment)


def test_a_share_at_the_threshold_is_enough() -> None:
    """55 of 100 3-grams, though 0.55 · 100 is more than 55 in floating point."""
    short, long = (" ".join(f"w{number}" for number in range(words)) for words in (57, 102))
    config = NearDuplicateConfig(similarity="containment", threshold=0.55)
    assert [fate.stays for fate in fates_of([short, long], config, ("first",))] == [True, False]


def test_lost_3_grams_are_those_that_brute_force_counts(shared_data: Path) -> None:
    chooser = random.Random(4)
    texts = [article["text"] for article in read_articles(shared_data)[:100]]
    texts += [edited(text, 4, chooser).swapcase() for text in texts]
    fates = fates_of(texts, NearDuplicateConfig())
    gone = [fate for fate in fates if not fate.stays]
    assert len(gone) > 80
    for fate in gone:
        own, other = (ngrams(texts[int(name or -1)], 3) for name in (fate.id, fate.match))
        assert fate.lost == len(own - other)
        assert fate.words == len(words_of(texts[int(fate.id)]))


def test_texts_shorter_than_a_shingle_are_compared() -> None:
    texts = [
        "Two words.",
        "two words",
        "three other words",
        "two words",
        "one",
        "ONE",
        "Two words, and then a few more",
    ]
    stays = [fate.stays for fate in fates_of(texts, NearDuplicateConfig(), ("first",))]
    assert stays == [True, False, True, False, True, False, True]
    held = fates_of(texts, NearDuplicateConfig(similarity="containment", threshold=1.0))
    assert [fate.stays for fate in held][4:] == [True, False, True]


def test_copies_in_scripts_without_spaces() -> None:
    """A sentence of Chinese is not one word: a copy with a few characters changed is near."""
    chooser = random.Random(1)
    for letters in (
        "的一是不了人我在有他这中大来上个国和也子",
        "กขคงจฉชซญดตถทนบปผพฟภ",
        "あいうえおかきくけこさしすせそたちつてと",
    ):
        text = "".join(chooser.choice(letters) for _ in range(600))
        copy = text[:100] + letters[0] + text[101:400] + letters[1] + text[401:]
        other = "".join(chooser.choice(letters) for _ in range(600))
        fates = fates_of([text, copy, other], NearDuplicateConfig(), ("first",))
        assert [fate.stays for fate in fates] == [True, False, True]
        assert (fates[1].similarity or 0) > 0.9


def test_the_case_of_near_copies_in_chinese(shared_data: Path) -> None:
    lines = (shared_data.parent / "cases" / "data" / "42-near-copies-in-chinese.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    fates = fates_of(texts, NearDuplicateConfig())
    assert any(not fate.stays for fate in fates)


def test_a_very_long_document_is_signed_in_bounded_work_and_compared_whole() -> None:
    chooser = random.Random(3)
    words = [f"w{chooser.randrange(50_000)}" for _ in range(150_000)]
    text = " ".join(words)
    same_beginning = " ".join([*words[:110_000], *(f"z{number}" for number in range(90_000))])
    copy = " ".join([*words[:-5], "ends", "otherwise"])
    fates = fates_of([text, same_beginning, copy], NearDuplicateConfig(), ("first",))
    assert [fate.stays for fate in fates] == [True, True, False]
    assert fates[1].match == "0" and (fates[1].similarity or 1) < 0.5, "it was compared, on its whole text"


def test_a_template_of_many_copies_costs_a_comparison_each() -> None:
    """Links and comparisons grow with the documents, not with their pairs; every copy but one goes."""
    text = [f"word{number}" for number in range(120)]
    sizes = (2_000, 4_000)
    links = []
    for size in sizes:
        texts = [" ".join([*text, f"page {number}"]) for number in range(size)]
        batch = batch_of(texts)
        shard = batch.append_column("signatures.signature", signatures(batch, SignatureConfig())["signature"])
        config = NearDuplicateConfig()
        mapped = near_duplicates.steps["map"](shard, config)
        links.append(near_duplicates.steps["link"]([(0, mapped)], config).num_rows)
        fates = fates_of(texts, config)
        assert sum(fate.stays for fate in fates) == 1
        assert {fate.match for fate in fates if not fate.stays} == {"1000"}, "the first of the longest"
    assert links[1] <= 2.1 * links[0]


@pytest.mark.heavy
def test_a_hundred_thousand_copies_of_a_template() -> None:
    text = [f"word{number}" for number in range(120)]
    texts = [" ".join([*text, f"page {number}"]) for number in range(100_000)]
    for mode in ("survivors", "components"):
        fates = fates_of(texts, NearDuplicateConfig(mode=mode), size=10_000, partitions=4)
        assert sum(fate.stays for fate in fates) == 1


def test_the_order_of_documents_changes_no_cluster(shared_data: Path) -> None:
    texts = [article["text"] for article in read_articles(shared_data)[:200]]
    texts += [text + " and one more sentence at its end" for text in texts[::9]]
    results = []
    for seed, size in ((1, 223), (2, 50), (3, 17)):
        order = np.random.default_rng(seed).permutation(len(texts)).tolist()
        ids = [f"doc-{number}" for number in order]
        fates = fates_of([texts[i] for i in order], NearDuplicateConfig(), size=size, partitions=seed, id=ids)
        results.append({fate.id: (fate.stays, fate.cluster, fate.similarity) for fate in fates})
    assert results[0] == results[1] == results[2]
    assert sum(not stays for stays, _, _ in results[0].values()) >= 20


def test_the_engine_gives_what_the_steps_give(shared_data: Path, lake: Lake, pool: LocalPool, tmp_path: Path) -> None:
    texts = [re.sub(r"\s+", " ", article["text"]) for article in read_articles(shared_data)]
    for number, start in enumerate(range(0, len(texts), 250)):
        (tmp_path / f"{number}.txt").write_text("\n".join(texts[start : start + 250]) + "\n")
    config = NearDuplicateConfig()

    def make(plan):  # type: ignore[no-untyped-def]
        return plan.run(lake, pool, lambda label, done, total: None)[0]

    files = take_inventory(lake, [str(tmp_path / "*.txt")]).files
    documents = make(SourcePlan(ConfiguredStage(toy.read_lines, toy.ToyConfig()), files))
    signed = make(PassPlan((ConfiguredStage(signatures, SignatureConfig()),), View("toy", documents)))
    view = View("toy", documents, annotations=(("signatures", Annotation(signed)),))
    found = make(PartitionedPlan(ConfiguredStage(near_duplicates, config), (view,), 300))
    reader = PartReader(lake, tmp_path / "cache")
    read, beside, made = ([read_table(reader.path(part)) for part in item.parts] for item in (documents, signed, found))
    shards = [
        one.append_column("signatures.signature", two["signature"]) for one, two in zip(read, beside, strict=True)
    ]
    expected = run_partitioned(near_duplicates, shards, config)
    assert len(shards) == 4 and found.account.rows_in == len(texts)
    assert [table.to_pydict() for table in made] == [table.to_pydict() for table in expected]
    assert sum(table["cluster"].drop_null().length() for table in made) >= 20
