"""Data orders: the tokens of sequence i of a run, in the native order, in GPT-NeoX's, or as stored rows."""

from model.order.mixture import PERIOD, mixture_schedule
from model.order.native import DataOrder
from model.order.neox import NeoxOrder
from model.order.packing import Packing
from model.order.permutation import original, permuted
from model.order.rows import RowOrder, write_rows
from model.order.sequences import Location, MixtureSource, Order, sequences_digest, tokens_digest
from model.order.split import split_documents

__all__ = [
    "PERIOD",
    "DataOrder",
    "Location",
    "MixtureSource",
    "NeoxOrder",
    "Order",
    "Packing",
    "RowOrder",
    "mixture_schedule",
    "original",
    "permuted",
    "sequences_digest",
    "split_documents",
    "tokens_digest",
    "write_rows",
]
