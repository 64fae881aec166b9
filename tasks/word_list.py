"""Counts words and phrases of lists by language, such as LDNOOBW's lists of bad words, with the rule of C4."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pydantic

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage

WORD_LIST_SCHEMA = pa.schema([pa.field("hits", pa.int64()), pa.field("share", pa.float64())])
# Languages in which words need not stand alone: those of tensorflow_datasets' text/c4_utils.py.
_WITHOUT_SPACES = frozenset({"ja", "th", "zh"})
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:-[A-Za-z0-9-]+)?(?:\.txt)?")
# Files beside lists that say something of them, by the first part of their names.
_ABOUT = frozenset({"LICENSE", "ORIGIN", "README", "USERS"})
_WORD = re.compile(r"\w+")
_OTHER = re.compile(r"\W+")


class WordListConfig(StageConfig):
    """Which lists are used, and which of their entries do not count.

    With `by_language`, a document is compared with the list of its language, by the column ``label`` of the step
    `language`; otherwise with all lists. `allowed` are entries that do not count. `decimals` rounds the share. With
    `compat: c4`, entries with capitals match nothing, as in C4's own filter, and lists of regions are not used.
    """

    by_language: bool = True
    allowed: tuple[str, ...] = ()
    decimals: int = pydantic.Field(4, ge=1, le=8)
    compat: Literal["c4"] | None = None


class WordList:
    """The entries of one list, or of several together."""

    def __init__(self, apart: Iterable[str], anywhere: Iterable[str]) -> None:
        """Entries that must stand `apart` from other words, and those that count `anywhere`."""
        # Few texts have any entry, so what entries need is looked for first: their longest word, or first character.
        self._by_word: dict[str, list[str]] = {}
        self._without_word: list[str] = []
        for entry in set(apart):
            if words := _WORD.findall(entry):
                self._by_word.setdefault(max(words, key=len), []).append(entry)
            else:
                self._without_word.append(entry)
        self._by_character: dict[str, list[str]] = {}
        for entry in set(anywhere):
            self._by_character.setdefault(entry[0], []).append(entry)

    def count(self, text: str) -> tuple[int, int]:
        """How often entries stand in a text of small letters, and of how many letters and digits these consist."""
        possible = self._by_word.keys() & set(_WORD.findall(text)) if self._by_word else ()
        apart = [entry for word in possible for entry in self._by_word[word] if entry in text]
        apart += [entry for entry in self._without_word if entry in text]
        begun = self._by_character.keys() & set(text) if self._by_character else ()
        anywhere = [entry for first in begun for entry in self._by_character[first] if entry in text]
        hits = letters = 0
        for present, form in ((apart, r"(?<!\w)(?:{})(?!\w)"), (anywhere, "{}")):
            if present:
                # The longest entry that fits counts.
                present.sort(key=lambda entry: (-len(entry), entry))
                for match in re.finditer(form.format("|".join(map(re.escape, present))), text):
                    hits, letters = hits + 1, letters + _letters(match.group())
        return hits, letters


def load_word_lists(config: WordListConfig, files: Mapping[str, Path]) -> dict[str | None, WordList]:
    """The lists by language, or all together under None: an entry in each line of files such as ``en`` or ``de.txt``.

    Raises ValueError that names a file which is no list.
    """
    apart: dict[str | None, list[str]] = {}
    anywhere: dict[str | None, list[str]] = {}
    for name in sorted(files):
        if name.partition(".")[0] in _ABOUT:
            continue
        named = _LANGUAGE.fullmatch(name)
        if named is None:
            raise ValueError(
                f"{files[name]} is not named after a language, as en or de.txt: leave it out of the folder"
            )
        language = named.group(1)
        if config.compat is not None and "-" in name:
            continue
        key = language if config.by_language else None
        for entry in _entries(files[name], config):
            # Beside other languages, an entry of Latin letters is a word.
            free = language in _WITHOUT_SPACES and (config.by_language or not entry.isascii())
            (anywhere if free else apart).setdefault(key, []).append(entry)
    if not apart and not anywhere:
        raise ValueError("the word lists have no entry: give a folder with files named after languages, such as en")
    return {key: WordList(apart.get(key, ()), anywhere.get(key, ())) for key in {**apart, **anywhere}}


def try_word_lists(files: Mapping[str, Path]) -> None:
    """Load the lists. Raises ValueError that names a file which is no list."""
    load_word_lists(WordListConfig(), files)


def _entries(path: Path, config: WordListConfig) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): store the list in UTF-8") from error
    entries = [line.strip() for line in lines]
    allowed = {entry.lower() for entry in config.allowed}
    found = [entry if config.compat else entry.lower() for entry in entries if entry and entry.lower() not in allowed]
    return [entry for entry in found if entry == entry.lower()]


@stage(
    "word_list",
    version=1,
    kind=StageKind.annotate,
    config=WordListConfig,
    columns=lambda config: ["text", "language.label"] if config.by_language else ["text"],
    load=load_word_lists,
    try_model=try_word_lists,
    schema=WORD_LIST_SCHEMA,
)
def count_words_of_list(batch: Documents, config: WordListConfig, lists: Mapping[str | None, WordList]) -> Annotations:
    """How many entries of a list stand in each document, and their share of its letters and digits.

    A text is compared in small letters. An entry counts where no letter, digit or underscore stands before or behind
    it; in Japanese, Thai and Chinese it counts anywhere. Where several entries fit, the longest counts. `share` is that
    of the characters of words (``\\w``) that stand in hits. Both are null where the language has no list.

    After ``get_badwords_filter_fn`` of tensorflow_datasets' ``text/c4_utils.py``: it drops a page with a hit.
    """
    texts = batch.column("text").to_pylist()
    keys = batch.column("language.label").to_pylist() if config.by_language else [None] * len(texts)
    hits: list[int | None] = []
    shares: list[float | None] = []
    for text, key in zip(texts, keys, strict=True):
        chosen = lists.get(key) if key is not None or not config.by_language else None
        if chosen is None:
            hits.append(None)
            shares.append(None)
            continue
        found, letters = chosen.count(text.lower())
        hits.append(found)
        shares.append(round(letters / _letters(text.lower()), config.decimals) if letters else 0.0)
    return pa.table([hits, shares], schema=WORD_LIST_SCHEMA)


def _letters(text: str) -> int:
    """The characters of words in a text."""
    return len(_OTHER.sub("", text))
