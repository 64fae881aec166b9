"""Pythia and GPT-NeoX: configuration and model, activation memory, and the Hugging Face adapter."""

from model.architectures.architecture import Architecture
from model.architectures.pythia.activations import ACTIVATIONS
from model.architectures.pythia.huggingface import HUGGINGFACE
from model.architectures.pythia.model import Pythia, PythiaConfig, initial, split

ARCHITECTURE = Architecture("pythia", PythiaConfig, Pythia, initial, split, ACTIVATIONS, HUGGINGFACE)
