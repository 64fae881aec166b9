"""Identifies languages with CLD2, by other means than fastText, so that a disagreement says something of a text.

CLD2 (Apache 2.0, github.com/CLD2Owners/cld2) is a naive Bayes classifier of four-letter groups, in about 160 languages.
"""

from __future__ import annotations

import re

import pyarrow as pa

from infra.documents import Annotations, Documents
from infra.stage import StageConfig, StageKind, stage

SECOND_LANGUAGE_SCHEMA = pa.schema(
    [pa.field("label", pa.string()), pa.field("share", pa.float64()), pa.field("agrees", pa.int64())]
)
# CLD2 takes these for invalid UTF-8: its "interchange valid" characters are no controls but tab, line feed and return.
_REFUSED = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)
# CLD2's labels under the names of fastText's lid.176.
_NAMES = {"iw": "he", "jw": "jv", "zh-Hant": "zh", "bh": "bih", "sr-ME": "sr"}
_UNKNOWN = "un"
# Members of a macrolanguage of ISO 639-3, which identifiers cut in other ways, are not at odds.
_ALIKE = {
    label: group
    for group, labels in {
        "hbs": ("bs", "hr", "sh", "sr"),
        "msa": ("id", "ms", "min"),
        "nor": ("nb", "nn", "no"),
    }.items()
    for label in labels
}


class SecondLanguageConfig(StageConfig):
    """It has no options."""


@stage(
    "second_language",
    version=1,
    kind=StageKind.annotate,
    config=SecondLanguageConfig,
    columns=["text", "language.label"],
    libraries=["pycld2"],
    schema=SECOND_LANGUAGE_SCHEMA,
)
def identify_again(batch: Documents, config: SecondLanguageConfig) -> Annotations:
    """The language of each document by CLD2, and whether the step `language` says the same.

    - `label`: the first of the languages that CLD2 finds, under fastText's name; null where it finds none;
    - `share`: the part of the text's bytes that are in it, by CLD2, from 0 to 1 in steps of 0.01;
    - `agrees`: 1 where `label` and ``language.label`` are the same, or members of one macrolanguage of ISO 639-3, 0
      where they differ, null where one of them is null.
    """
    import pycld2  # there are wheels for x86_64 only: elsewhere, whoever uses this step builds the package

    label: list[str | None] = []
    share: list[float | None] = []
    agrees: list[int | None] = []
    columns = (batch.column(name).to_pylist() for name in ("text", "language.label"))
    for text, first in zip(*columns, strict=True):
        _, _, found = pycld2.detect(_REFUSED.sub(" ", text), isPlainText=True, bestEffort=True)
        [(_, name, percent, _), *_] = found
        name = None if name == _UNKNOWN else _NAMES.get(name, name)
        label.append(name)
        share.append(None if name is None else percent / 100)
        agrees.append(None if name is None or first is None else int(_same(name, first)))
    return pa.table([label, share, agrees], schema=SECOND_LANGUAGE_SCHEMA)


def _same(label: str, other: str) -> bool:
    return _ALIKE.get(label, label) == _ALIKE.get(other, other)
