"""WARC to text by datatrove: its WARC reader, and trafilatura as its extractor calls it, in this process.

Its extractor's second process, which only guards against pages that take too long, is left out: its cost would count
against it.
"""

import json
import os

from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader


def prepare(given, folder):
    archives = json.loads(given.read_text())["archives"]
    paths = folder / "paths"
    paths.write_text("".join(f"{os.path.basename(path)}\n" for path in archives))
    return os.path.dirname(archives[0]), str(paths)


def documents(value):
    place, paths = value
    extractor = Trafilatura(favour_precision=True, timeout=60)
    for document in WarcReader(place, paths_file=paths).run():
        try:
            text = extractor.extract(document.text)
        except Exception:  # noqa: BLE001 - as its own extractor does
            text = None
        if text:
            yield document, text


def work(value):
    for _ in documents(value):
        pass


def outcome(value):
    own = [(document.id.strip("<>").removeprefix("urn:uuid:").lower(), text) for document, text in documents(value)]
    return [[id, text] for id, text in own]
