"""The peers and their versions."""

from __future__ import annotations

from pathlib import Path

from tests.bench.peers.environment import Peer

RENSA = Peer("rensa", ("rensa==0.5.0",))
DAFT = Peer("daft", ("daft==0.7.26",))
# Its extra asks for an older trafilatura; both sides have the same one.
DATATROVE = Peer(
    "datatrove",
    ("datatrove[io,processing]==0.10.1", "spacy==3.8.18", "lxml_html_clean==0.4.6"),
    alone=("trafilatura==2.3.1",),
)
TRAFILATURA = Peer("trafilatura", ("trafilatura==2.3.1", "lxml_html_clean==0.4.6"))
# Its own requirements include Spark and UniSim, which its MinHash command does not import.
TEXT_DEDUP = Peer(
    "text_dedup",
    (
        "click==8.1.8",
        "click-option-group==0.5.7",
        "datasets==4.4.1",
        "ftfy==6.3.1",
        "numpy==2.3.5",
        "psutil==7.1.3",
        "regex==2025.11.3",
        "rich==13.9.4",
        "scipy==1.16.3",
        "setuptools==80.9.0",
        "tqdm==4.67.1",
        "xxhash==3.6.0",
    ),
    alone=("text-dedup==0.4.0",),
)
FASTTEXT = Peer("fasttext", ("fasttext-numpy2-wheel==0.9.2",))
WHATLANG = Peer("whatlang", ("whatlang-pyo3==0.6.0",))
TOKENIZERS = Peer("tokenizers", ("tokenizers==0.23.3",))
_CC_NET = (
    "func_argparse==1.1.1",
    "kenlm==0.3.0",
    "numpy==2.4.6",
    "pandas==2.2.3",
    "psutil",
    "requests",
    "sentencepiece==0.2.3",
    "typing_extensions",
)


# Name → folder of code that is on no registry, as it was given.
CHECKOUTS: dict[str, Path | None] = {}


def cc_net() -> Peer:
    """cc_net's modules, in the checkout of them that was given."""
    cure = "clone facebookresearch/cc_net at bda555bd and give its folder: --cc-net FOLDER"
    return Peer("cc_net", _CC_NET, folder=CHECKOUTS.get("cc_net"), wants_folder=cure)
