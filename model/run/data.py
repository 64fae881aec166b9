"""The data of a run: the order of its training sequences and of its validation sequences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infra.store.digests import key_of
from infra.store.errors import Corrupt
from infra.store.lake import Lake
from infra.store.manifest import fetch_part
from infra.store.token_files import JoinedDigest, open_tokens
from infra.store.tokens import TokenFile, Tokens
from infra.store.verified import once
from model.order import DataOrder, MixtureSource, NeoxOrder, Order, RowOrder, split_documents
from model.order.supply import require_sequences, require_validation
from model.run.config import RunConfig, Source


def open_order(lake: Lake, config: RunConfig, cache: Path) -> Order:
    """The data order of a run over verified local copies of its token files, kept in the folder `cache`.

    Raises ValueError when the run would read more sequences than its sources allow.
    """
    training = config.training
    sources = _mixture(lake, config.sources, cache)
    order: Order
    if training.compat == "neox":
        part = _part(sources, training.split, 0)
        order = NeoxOrder(sources, training.sequence_length, config.seed, config.samples, cache, part)
    elif training.compat == "rows":
        order = RowOrder(sources, training.sequence_length, config.seed)
    else:
        order = DataOrder(sources, training.sequence_length, config.seed, training.packing)
    require_sequences(config.needed, order.sequences)
    return order


def open_validation(lake: Lake, config: RunConfig, cache: Path) -> Order | None:
    """The order of a run's validation sequences, or None for a run without validation.

    Raises ValueError when there are fewer sequences than the run needs.
    """
    training, wanted = config.training, config.training.validation
    if wanted is None:
        return None
    order: Order
    if training.split is None:
        sources = _mixture(lake, config.validation_sources, cache)
        order = DataOrder(sources, training.sequence_length, config.seed, training.packing)
    else:
        # GPT-NeoX builds its maps for all evaluations of the run, with as many passes as needed
        # (`build_train_valid_test_data_iterators`).
        samples = (training.steps // wanted.every + 1) * wanted.sequences
        sources = [replace(source, epochs=sys.maxsize) for source in _mixture(lake, config.sources, cache)]
        part = _part(sources, training.split, 1)
        order = NeoxOrder(sources, training.sequence_length, config.seed, samples, cache, part)
    require_validation(wanted.sequences, order.sequences)
    return order


def _part(sources: Sequence[MixtureSource], split: Sequence[float] | None, number: int) -> range | None:
    """The documents of share `number` of the split of the only source; None without a split."""
    return None if split is None else split_documents(split, len(sources[0].file.sizes))[number]


def _mixture(lake: Lake, sources: tuple[Source, ...], cache: Path) -> list[MixtureSource]:
    return [
        MixtureSource(source.name, source.weight, source.epochs, source.digest, open_source(lake, source, cache))
        for source in sources
    ]


def open_source(lake: Lake, source: Source, cache: Path) -> Tokens:
    """The tokens of a source, from verified local copies in the folder `cache`.

    The digest of several files is compared once on a machine, which reads them all. Raises Corrupt when it differs.
    """
    files = [TokenFile(fetch_part(lake, file.bin, cache), fetch_part(lake, file.idx, cache)) for file in source.files]

    def compare() -> None:
        with JoinedDigest(cache) as joined:
            for file in files:
                joined.add(file)
            if joined.digest() != source.digest:
                raise Corrupt(
                    f"{lake.uri}: the {len(files)} token files of the source {source.name} are not the tokens that the "
                    "run was created with; create the run again"
                )

    if len(files) > 1:
        pairs = [[file.bin.sha256, file.idx.sha256] for file in source.files]
        once(key_of(["tokens", source.digest, pairs]), cache, compare)
    return open_tokens(files)
