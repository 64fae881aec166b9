"""Personal data: found where it is, not where something looks like it, and in time that grows with the text."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import phonenumbers
import pyarrow as pa
import pytest

from infra.documents import apply_edits
from tasks.personal_data import PERSONAL_SCHEMA, PersonalDataConfig, describe_personal_data, find_personal_data
from tasks.personal_data import phones as phones_module
from tests.tasks.personal_data.texts import FORMATS, MAKERS, NEITHER, REGIONS, made_text

CONFIG = PersonalDataConfig(regions=REGIONS)
COLUMNS = {"email": "emails", "account": "accounts", "card": "cards", "ip": "ip_addresses", "phone": "phones"}


def find(texts: list[str], config: PersonalDataConfig = CONFIG) -> list[dict[str, Any]]:
    table = find_personal_data(pa.table({"text": pa.array(texts, pa.string())}), config)
    assert table.schema == PERSONAL_SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def spans(row: dict[str, Any]) -> set[tuple[int, int, str]]:
    return {(span["start"], span["end"], span["kind"]) for span in row["spans"]}


@pytest.mark.parametrize("number", range(len(FORMATS)))
def test_precision_and_recall_on_made_texts(number: int) -> None:
    rng = random.Random(number)
    made = [made_text(rng, FORMATS[number]) for _ in range(60)]
    rows = find([one.text for one in made])
    for kind in MAKERS:
        wanted = {(n, *span) for n, one in enumerate(made) for span in one.spans if span[2] == kind}
        found = {(n, *span) for n, row in enumerate(rows) for span in spans(row) if span[2] == kind}
        right = len(wanted & found)
        shown = [made[n].text.encode()[a:b] for n, a, b, _ in sorted(wanted ^ found)[:5]]
        assert right / len(wanted) >= 0.99 and right / len(found) >= 0.99, shown
        assert sum(row[COLUMNS[kind]] for row in rows) == len(found)


@pytest.mark.parametrize("text", NEITHER)
def test_what_only_looks_like_personal_data_is_none(text: str) -> None:
    for around in ("{}", "a {} b", "({})", "{}.", "说{}。", "{}\n{}"):
        [row] = find([around.format(text, text)])
        assert row["spans"] == [], row["spans"]


TABLES: dict[str, Callable[[random.Random], str]] = {
    "decimals": lambda rng: f"{rng.uniform(0, 1e4):.3f}",
    "thousands": lambda rng: f"{rng.uniform(0, 1e6):,.2f}",
    "coordinates": lambda rng: f"{rng.uniform(-90, 90):.6f} {rng.uniform(-180, 180):.6f}",
    "times": lambda rng: f"{rng.randrange(1, 29):02}.{rng.randrange(1, 13):02}.2024 {rng.randrange(24):02}:30",
    "prices": lambda rng: f"${rng.uniform(1, 9999):,.2f}",
}


@pytest.mark.parametrize("between", [" ", "  ", "\t", ", ", "\n"])
@pytest.mark.parametrize("name", list(TABLES))
def test_tables_of_numbers_have_no_phones(name: str, between: str) -> None:
    rng = random.Random(5)
    [row] = find([between.join(TABLES[name](rng) for _ in range(500))])
    assert row["spans"] == []


@pytest.mark.parametrize("text", ["(650) 253.0000", "650.253.0000", "030.901820", "1-650-253-0000", "Tel:650-253-0000"])
def test_phones_with_dots_and_colons_stay_phones(text: str) -> None:
    assert find([text])[0]["phones"] == 1


def test_masks_are_edits_that_leave_the_rest() -> None:
    text = "Grüße an anna@mill.org, +49 30 901820 oder 4111 1111 1111 1111."
    config = PersonalDataConfig(mask=("email", "card"), replacements={"card": ""})
    [row] = find([text], config)
    assert (row["emails"], row["phones"], row["cards"], row["accounts"]) == (1, 1, 1, 0)
    edited, struck = apply_edits(
        pa.chunked_array([[text]]), pa.chunked_array([[row["edits"]]], PERSONAL_SCHEMA.field("edits").type)
    )
    assert edited.to_pylist() == ["Grüße an <EMAIL>, +49 30 901820 oder ."]
    assert describe_personal_data(row) == ["personal data: 1 emails, 1 cards, 1 phones; 2 masked"]
    [counted] = find([text], PersonalDataConfig())
    assert counted["edits"] is None and spans(counted) == spans(row)
    assert describe_personal_data(find(["no data"])[0]) == []


def test_a_kind_that_is_not_looked_for_has_no_count() -> None:
    [row] = find(["anna@mill.org +49 30 901820"], PersonalDataConfig(kinds=("phone",)))
    assert (row["emails"], row["phones"], row["cards"]) == (None, 1, None)
    with pytest.raises(ValueError, match="email is not in kinds"):
        PersonalDataConfig(kinds=("phone",), mask=("email",))
    with pytest.raises(ValueError, match="there is no region XX"):
        PersonalDataConfig(regions=("XX",))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Mail: info@mühle.de!", "info@mühle.de"),
        ("邮箱abc@qq.com请", "abc@qq.com"),
        ("<mailto:o.brien@mill.co.uk>", "o.brien@mill.co.uk"),
        ("at a-b_c+d@x1.river-wheel.museum.", "a-b_c+d@x1.river-wheel.museum"),
        ("INFO@MILL.ORG,", "INFO@MILL.ORG"),
        ("=a@mill.org;", "a@mill.org"),
        ("...dots@mill.org", None),
        (".dot@mill.org", "dot@mill.org"),
        ("dot.@mill.org", None),
        (f"{'a' * 65}@mill.org", None),
        (f"{'a' * 64}@mill.org", f"{'a' * 64}@mill.org"),
        ("a@-mill.org", None),
        ("a@mill..org", None),
        ("a@b@mill.org", "b@mill.org"),
        ("//me@mill.org/x", None),
        ("a@mühle", None),
    ],
)
def test_addresses_of_email_end_where_they_end(text: str, address: str | None) -> None:
    [row] = find([text])
    found = [text.encode()[start:end].decode() for start, end, _ in spans(row)]
    assert found == ([] if address is None else [address])


def test_a_span_has_one_kind() -> None:
    """The digits of an account are no card, those of an address of e-mail no phone."""
    texts = ["DE89370400440532013000", "4111111111111111@mill.org", "+16502530000@mill.org", "1.12.13.14@mill.org"]
    for text in texts:
        [row] = find([text])
        assert len(row["spans"]) == 1
    assert find([]) == []


HOSTILE = {
    "at signs": "@",
    "locals": "a",
    "domains": "a@" + "b.",
    "hyphens": "a@b-",
    "digits": "4",
    "spaced digits": "4 ",
    "groups": "4111 1111 1111 1111 ",
    "quads": "11.22.33.44.",
    "colons": "2a00:",
    "capitals": "DE89 ",
    "plus": "+",
    "phones": "+1 650 253 0000 ",
    "brackets": "(+1(",
    "national": "650-253-0000 ",
}


@pytest.mark.parametrize("unit", list(HOSTILE.values()), ids=list(HOSTILE))
def test_work_grows_with_the_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of phonenumbers, the only work that is not a bounded search at each place, are limited for a text."""
    judged = 0
    matcher = phonenumbers.PhoneNumberMatcher

    def counted(text: str, *rest: Any, **more: Any) -> Any:
        nonlocal judged
        judged += 1
        assert len(text) <= 90
        return matcher(text, *rest, **more)

    monkeypatch.setattr(phonenumbers, "PhoneNumberMatcher", counted)
    monkeypatch.setattr(phones_module, "_MOST_JUDGED", 50)
    texts = [unit * (300_000 // len(unit)), "x" + unit * 2000 + "y"]
    find(texts)
    assert judged <= 2 * len(REGIONS) * 50


def test_behind_the_limit_every_candidate_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text with so many numbers would rather be masked too much."""
    monkeypatch.setattr(phones_module, "_MOST_JUDGED", 3)
    [row] = find(["+1 000 000 0000, " * 10], PersonalDataConfig())
    assert row["phones"] == 7
