"""Ways of choosing which visual tokens an LLM reads, in plain torch."""

from sharpv.methods.base import Selection, TokenPruner
from sharpv.methods.random import Random
from sharpv.methods.registry import METHODS, find_pruner
from sharpv.methods.sharpv import SharpV
from sharpv.methods.uniform import Uniform

__all__ = ["METHODS", "Random", "Selection", "SharpV", "TokenPruner", "Uniform", "find_pruner"]
