"""`python -m tests.bench.render [--check]`: render the figures of documents from docs/results.

A region of a document begins with ``<!-- results: NAME -->`` and ends with ``<!-- end of results -->``. Its text is
what the template docs/results/NAME.md.j2 gives for the records. The pictures of docs/images/signals are drawn from the
record `signals`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from tests.bench.pictures import pictures
from tests.bench.records import FOLDER, ROOT, Record, read_records

DOCUMENTS = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("performance", "extraction", "signals")),
)
_REGION = re.compile(r"(<!-- results: ([a-z-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def render(text: str, records: Mapping[str, Record], folder: Path = FOLDER) -> str:
    """A document's text with its regions as the records give them.

    Raises jinja2.UndefinedError for a record or value that is not there, and jinja2.TemplateNotFound.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {"digits": digits, "day": lambda record: f"{record.date:%-d %B %Y}"}

    def region(found: re.Match[str]) -> str:
        rendered = environment.get_template(f"{found[2]}.md.j2").render(records=records)
        return f"{found[1]}{rendered.strip()}\n{found[3]}"

    return _REGION.sub(region, text)


def digits(value: float, places: int = 0) -> str:
    """A number with commas for thousands and so many decimal places."""
    return f"{value:,.{places}f}"


def main(arguments: Sequence[str]) -> int:
    """Render the documents; with `--check` only say which differ, and end with 1 if any does."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.render", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 when a document would change")
    check = parser.parse_args(arguments).check
    records = read_records()
    differ = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        rendered = render(text, records)
        if rendered != text:
            differ.append(document.relative_to(ROOT))
            if not check:
                document.write_text(rendered, encoding="utf-8")
    for place, picture in pictures(records).items():
        if not place.is_file() or place.read_text(encoding="utf-8") != picture:
            differ.append(place.relative_to(FOLDER.parents[1]))
            if not check:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(picture, encoding="utf-8")
    for document in differ:
        print(f"{document}: {'differs from docs/results: run `make docs`' if check else 'rendered'}")
    return 1 if check and differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
