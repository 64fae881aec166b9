"""OPT: configuration and model, activation memory, and the Hugging Face adapter."""

from model.architectures.architecture import Architecture
from model.architectures.opt.activations import ACTIVATIONS
from model.architectures.opt.huggingface import HUGGINGFACE
from model.architectures.opt.model import Opt, OptConfig, initial, split

ARCHITECTURE = Architecture("opt", OptConfig, Opt, initial, split, ACTIVATIONS, HUGGINGFACE)
