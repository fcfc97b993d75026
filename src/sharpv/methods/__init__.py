"""Ways of choosing which visual tokens an LLM reads, in plain torch."""

from sharpv.methods.base import Selection, TokenPruner
from sharpv.methods.divprune import DivPrune
from sharpv.methods.dycoke import DyCoke
from sharpv.methods.evs import EVS
from sharpv.methods.flashvid import FlashVID
from sharpv.methods.framefusion import FrameFusion
from sharpv.methods.holitom import HoliTom
from sharpv.methods.prunevid import PruneVid
from sharpv.methods.random import Random
from sharpv.methods.registry import METHODS, find_pruner
from sharpv.methods.sharpv import SharpV
from sharpv.methods.uniform import Uniform
from sharpv.methods.vcast import VCast
from sharpv.methods.vidcom2 import VidCom2

__all__ = [
    "EVS",
    "METHODS",
    "DivPrune",
    "DyCoke",
    "FlashVID",
    "FrameFusion",
    "HoliTom",
    "PruneVid",
    "Random",
    "Selection",
    "SharpV",
    "TokenPruner",
    "Uniform",
    "VCast",
    "VidCom2",
    "find_pruner",
]
