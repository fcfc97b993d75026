"""Ways of choosing which visual tokens an LLM reads, in plain torch."""

from sharpv.methods.attention import AttentionPruner, needs_attention
from sharpv.methods.base import InLLMPruner, Selection, TokenPruner
from sharpv.methods.divprune import DivPrune
from sharpv.methods.dycoke import DyCoke
from sharpv.methods.evs import EVS
from sharpv.methods.fastv import FastV
from sharpv.methods.fastvid import FastVID
from sharpv.methods.flashvid import FlashVID
from sharpv.methods.framefusion import FrameFusion
from sharpv.methods.holitom import HoliTom
from sharpv.methods.prumerge import PruMerge
from sharpv.methods.prunevid import PruneVid
from sharpv.methods.random import Random
from sharpv.methods.registry import BEFORE_LLM, INSIDE_LLM, METHODS, find_pruner
from sharpv.methods.sharpv import SharpV
from sharpv.methods.uniform import Uniform
from sharpv.methods.vcast import VCast
from sharpv.methods.vidcom2 import VidCom2
from sharpv.methods.visionzip import VisionZip
from sharpv.methods.vtw import VTW

__all__ = [
    "BEFORE_LLM",
    "EVS",
    "INSIDE_LLM",
    "METHODS",
    "VTW",
    "AttentionPruner",
    "DivPrune",
    "DyCoke",
    "FastV",
    "FastVID",
    "FlashVID",
    "FrameFusion",
    "HoliTom",
    "InLLMPruner",
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
