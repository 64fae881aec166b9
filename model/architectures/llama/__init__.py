"""LLaMA: configuration and model, activation memory, and the Hugging Face adapter."""

from model.architectures.architecture import Architecture
from model.architectures.llama.activations import ACTIVATIONS
from model.architectures.llama.huggingface import HUGGINGFACE
from model.architectures.llama.model import Llama, LlamaConfig, initial, split

ARCHITECTURE = Architecture("llama", LlamaConfig, Llama, initial, split, ACTIVATIONS, HUGGINGFACE)
