"""Checks before a run is created that its sources have enough tokens, from their token counts alone."""

from __future__ import annotations

from collections.abc import Mapping

from model.configuration import require
from model.order.blending import samples_of_sources
from model.order.mixture import Mixture
from model.order.neox import require_passes
from model.order.packing import count_windows
from model.order.sequences import too_short
from model.order.supply import Counts, require_sequences, require_validation
from model.run.config import RunConfig, Source


def require_supply(config: RunConfig, counts: Mapping[str, Counts], validation: Mapping[str, Counts]) -> None:
    """Raise ValueError when a run would read more than its sources allow. Both mappings are keyed by source name.

    Opening the order checks again with the files themselves. Only then are GPT-NeoX's exact blend and the contents of a
    split known.
    """
    training, length = config.training, config.training.sequence_length
    if training.split is not None:
        return
    if training.compat == "neox":
        prepared = samples_of_sources([source.weight for source in config.sources], config.samples)
        for source, samples in zip(config.sources, prepared, strict=True):
            require_passes(source.name, counts[source.name].tokens, source.epochs, length, samples)
    elif training.compat == "rows":
        names = [source.name for source in config.sources]
        require(
            len(names) == 1, f"training.compat rows reads one source, and the run has {', '.join(names)}; omit compat"
        )
        rows, tokens = counts[names[0]].documents, counts[names[0]].tokens
        require(
            tokens == rows * (length + 1),
            f"training.compat rows needs documents of {length + 1} tokens each, and the {rows:,} documents of "
            f"{names[0]} have {tokens:,} in total; omit compat, or set the sequence length of the rows",
        )
        require_sequences(config.needed, rows)
    else:
        require_sequences(config.needed, _native(config, config.sources, counts))
    if training.validation is not None:
        given = _native(config, config.validation_sources, validation)
        require_validation(training.validation.sequences, given)


def _native(config: RunConfig, sources: tuple[Source, ...], counts: Mapping[str, Counts]) -> int:
    """The number of sequences in Millrace's own data order."""
    training = config.training
    mixture = Mixture([source.weight for source in sources])
    ends = []
    for number, source in enumerate(sources):
        tokens = counts[source.name].tokens
        windows = count_windows(tokens, training.packing, training.sequence_length)
        if windows < 1:
            raise too_short(source.name, tokens, training.sequence_length)
        ends.append(mixture.index(number, windows * source.epochs))
    return min(ends)
