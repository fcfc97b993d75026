"""Ways of choosing which visual tokens an LLM reads, in plain torch."""

from sharpv.methods.attention import AttentionPruner, needs_attention
from sharpv.methods.base import Selection, TokenPruner
from sharpv.methods.divprune import DivPrune
from sharpv.methods.dycoke import DyCoke
from sharpv.methods.evs import EVS
from sharpv.methods.fastvid import FastVID
from sharpv.methods.flashvid import FlashVID
from sharpv.methods.framefusion import FrameFusion
from sharpv.methods.holitom import HoliTom
from sharpv.methods.prumerge import PruMerge
from sharpv.methods.prunevid import PruneVid
from sharpv.methods.random import Random
from sharpv.methods.registry import METHODS, find_pruner
from sharpv.methods.sharpv import SharpV
from sharpv.methods.uniform import Uniform
from sharpv.methods.vcast import VCast
from sharpv.methods.vidcom2 import VidCom2
from sharpv.methods.visionzip import VisionZip

__all__ = [
    "EVS",
    "METHODS",
    "AttentionPruner",
    "DivPrune",
    "DyCoke",
    "FastVID",
    "FlashVID",
    "FrameFusion",
    "HoliTom",
    "PruMerge",
    "PruneVid",
    "Random",
    "Selection",
    "SharpV",
    "TokenPruner",
    "Uniform",
    "VCast",
    "VidCom2",
    "VisionZip",
    "find_pruner",
    "needs_attention",
]
