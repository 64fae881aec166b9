"""How others count the floating-point operations of a token: what their published figures are compared by."""

from __future__ import annotations

from model.architectures.architecture import ModelConfig
from model.cost.flops import FORWARD_AND_BACKWARD, TokenFlops
from model.parallel.shapes import elements, output_shape


def llm_foundry_flops(config: ModelConfig, sequence_length: int) -> TokenFlops:
    """6 · P + 12 · L · d · s for all P parameters, embeddings included (mosaicml/llm-foundry,
    `scripts/train/benchmarking`). Flatters small models: by 24 % at 160M parameters.
    """
    return TokenFlops(
        blocks=FORWARD_AND_BACKWARD * (config.parameters - elements(output_shape(config))),
        attention=12 * config.layers * config.width * sequence_length,
        head=FORWARD_AND_BACKWARD * elements(output_shape(config)),
        recomputed=0.0,
        convention="llm-foundry: 6·P with all embeddings + 12·L·d·s, full attention",
    )


def neox_flops(config: ModelConfig, sequence_length: int, recomputed: bool) -> TokenFlops:
    """24 · f · L · d² · (1 + s / 6d + V / 16Ld), with f = 4 where blocks are recomputed and else 3 (GPT-NeoX,
    `megatron/logging.py`; Narayanan et al. 2021, section 5.1, which metaseq follows too).

    Hardware FLOPs when f is 4. Right for blocks of 12d² weights only, and with f = 3 the head counts 3/4 of its own.
    """
    layers, width = config.layers, config.width
    blocks, attention = 72.0 * layers * width**2, 12.0 * layers * width * sequence_length
    factor = 4 if recomputed else 3
    return TokenFlops(
        blocks=blocks,
        attention=attention,
        head=1.5 * factor * width * config.vocabulary,
        recomputed=(blocks + attention) / 3 if recomputed else 0.0,
        convention=f"GPT-NeoX: 24·f·L·d²·(1 + s/6d + V/16Ld) with f = {factor}, full attention",
    )
