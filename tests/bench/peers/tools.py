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
FASTTEXT = Peer("fasttext", ("fasttext-numpy2-wheel==0.9.2",))
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
