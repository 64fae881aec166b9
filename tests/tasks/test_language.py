import tarfile
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest

from tasks.fasttext_model import FasttextModel
from tasks.language import LANGUAGE_SCHEMA, LanguageConfig, identify_language, load_language_model
from tasks.model_files import model_files

CONFIG = LanguageConfig()
# Share of lingua75's sentences that lid.176.ftz labels as their folder says, as fastText 0.9.3 gives them; the last
# three are in no list of lid.176's labels, or under another name there (nb is "no").
ACCURACY = {
    "ar": 0.998, "bn": 1.0, "de": 1.0, "el": 1.0, "en": 1.0, "es": 0.993, "fr": 0.983, "he": 1.0, "hr": 0.674,
    "it": 0.995, "ja": 0.995, "ko": 0.994, "nl": 0.993, "pl": 0.996, "ru": 0.998, "th": 0.998, "tr": 0.989,
    "vi": 1.0, "zh": 0.947, "nb": 0.0, "zu": 0.0, "tn": 0.0,
}  # fmt: skip


def files() -> dict[str, Path]:
    return {name: Path(path) for name, path in model_files(identify_language, "bundled:lid.176.ftz").local.items()}


@pytest.fixture(scope="module")
def model() -> FasttextModel:
    return load_language_model(CONFIG, files())


def batch(texts: list[str]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


@pytest.fixture(scope="module")
def sentences(shared_data: Path) -> dict[str, list[str]]:
    with tarfile.open(shared_data / "language-id" / "lingua75" / "lingua75.tar.xz") as archive:
        found = {}
        for member in archive.getmembers():
            language, _, name = member.name.partition("/")
            stream = archive.extractfile(member) if name == "sentences.txt" else None
            if stream is not None and language in ACCURACY:
                found[language] = [line for line in stream.read().decode().split("\n") if line]
    return found


def test_accuracy_on_labelled_sentences_is_the_known_one(sentences: dict[str, list[str]], model: FasttextModel) -> None:
    assert set(sentences) == set(ACCURACY)
    for language, lines in sentences.items():
        labels = identify_language(batch(lines), CONFIG, model)["label"].to_pylist()
        share = sum(label == language for label in labels) / len(labels)
        assert share == pytest.approx(ACCURACY[language], abs=0.003), language


def test_labels_and_scores_equal_fasttext_own_prediction(sentences: dict[str, list[str]], model: FasttextModel) -> None:
    lines = [line for language in ("de", "en", "zh", "ru") for line in sentences[language][:50]]
    outer = fasttext.load_model(str(files()["lid.176.ftz"]))
    annotations = identify_language(batch(lines), CONFIG, model)
    for line, row in zip(lines, annotations.to_pylist(), strict=True):
        [(probability, label)] = outer.f.predict(line + "\n", 1, 0.0, "strict")
        assert row == {"label": label.removeprefix("__label__"), "score": round(probability, 2)}


def test_a_batch_does_not_change_its_rows(sentences: dict[str, list[str]], model: FasttextModel) -> None:
    lines = sentences["hr"][:100]
    together = identify_language(batch(lines), CONFIG, model)
    alone = pa.concat_tables([identify_language(batch([line]), CONFIG, model) for line in lines])
    assert together.equals(alone)
    assert together.equals(identify_language(batch(lines), CONFIG, load_language_model(CONFIG, files())))


def test_lines_are_glued_as_in_cc_net(model: FasttextModel) -> None:
    text = "Das ist ein deutscher\nSatz über nichts\n"
    glued, spaced, plain = (
        identify_language(batch([value]), config, model).to_pylist()
        for value, config in [
            (text, CONFIG),
            (text, LanguageConfig(line_feed=" ")),
            ("Das ist ein deutscherSatz über nichts", CONFIG),
        ]
    )
    assert glued == plain
    assert [row["label"] for row in glued + spaced] == ["de", "de"]


def test_text_without_a_visible_character_has_no_language(model: FasttextModel) -> None:
    annotations = identify_language(
        batch(["", " \n\t", "Dies ist ein deutscher Satz.", "\x00", "12345", "</s>"]), CONFIG, model
    )
    assert annotations.schema == LANGUAGE_SCHEMA
    assert [label is None for label in annotations["label"].to_pylist()] == [True, True, False, False, False, False]
    assert identify_language(batch([]), CONFIG, model).schema == LANGUAGE_SCHEMA


def test_scores_are_rounded_as_configured(model: FasttextModel) -> None:
    text = "Uma boa experiencia"
    [fine] = identify_language(batch([text]), LanguageConfig(decimals=5), model)["score"].to_pylist()
    [coarse] = identify_language(batch([text]), CONFIG, model)["score"].to_pylist()
    assert coarse == round(fine, 2) != fine


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "broken.ftz").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"broken\.ftz is not a fastText model"):
        load_language_model(CONFIG, {"broken.ftz": tmp_path / "broken.ftz"})
    with pytest.raises(ValueError, match="is one fastText file, not 0"):
        load_language_model(CONFIG, {})


def test_an_unsupervised_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one two three four five\n" * 50)
    trained = fasttext.train_unsupervised(str(tmp_path / "text.txt"), dim=2, epoch=1, minCount=1, thread=1, bucket=10)
    trained.save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(ValueError, match="model without labels"):
        load_language_model(CONFIG, {"vectors.bin": tmp_path / "vectors.bin"})


ENGLISH = "The mill stands by the river and its wheel has turned for three hundred years. "
GERMAN = "Die Mühle steht am Fluss, und ihr Rad hat sich seit dreihundert Jahren gedreht. "


@pytest.mark.parametrize(
    "word", ["</s>", "__label__fr", "__label__", "<s>", "</s></s>", "__label__de__label__ru", "EOS"]
)
@pytest.mark.parametrize("around", [" ", "\n", "\t", "\0", "\v", "\r"])
def test_words_that_are_special_to_fasttext_are_text(word: str, around: str, model: FasttextModel) -> None:
    for text in (
        f"{word}{around}{ENGLISH}",
        f"{around}{word}{around}{word}{around}{ENGLISH}",
        f"{ENGLISH[:20]}{around}{word}{around}{ENGLISH}",
    ):
        for config in (CONFIG, LanguageConfig(line_feed=" ")):
            [row] = identify_language(batch([text]), config, model).to_pylist()
            assert row["label"] == "en"
            assert row["score"] > 0.85


@pytest.mark.parametrize("word", ["</s>", "__label__fr", "__label__nonsense"])
def test_with_compat_special_words_are_those_of_fasttext(word: str, model: FasttextModel) -> None:
    """As cc_net gives the text to fastText: what stands behind the end of the line is not read."""
    texts = [f"{ENGLISH} {word} {GERMAN}", f"{word} {ENGLISH}", ENGLISH, f"{ENGLISH}\n{word}\n{GERMAN}"]
    found = identify_language(batch(texts), LanguageConfig(compat="ccnet"), model).to_pylist()
    for text, row in zip(texts, found, strict=True):
        [(probability, label)] = model.predict(text.replace("\n", "") + "\n", 1, 0.0, "strict")
        assert row == {"label": label.removeprefix("__label__"), "score": round(probability, 2)}
    if word == "</s>":
        assert found[0] == found[2] and found[1]["score"] < 0.5


def test_words_that_only_contain_special_ones_are_left_alone(model: FasttextModel) -> None:
    given: list[str] = []

    class Recorder:
        def predict(self, line: str, *options: object) -> list[tuple[float, str]]:
            given.append(line)
            return [(1.0, "__label__en")]

    texts = ["x</s> y", "</s>x", "a__label__", "__labe__ </S>", "</s>", "a\u00a0</s>"]
    identify_language(batch(texts), CONFIG, Recorder())
    assert given == ["x</s> y\n", "</s>x\n", "a__label__\n", "__labe__ </S>\n", "< /s>\n", "a\u00a0</s>\n"]
