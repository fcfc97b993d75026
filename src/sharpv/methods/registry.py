"""The methods by name."""

from sharpv.errors import InputError
from sharpv.methods.base import InLLMPruner, TokenPruner
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
from sharpv.methods.sharpv import SharpV
from sharpv.methods.uniform import Uniform
from sharpv.methods.vcast import VCast
from sharpv.methods.vidcom2 import VidCom2
from sharpv.methods.visionzip import VisionZip
from sharpv.methods.vtw import VTW

__all__ = ["BEFORE_LLM", "INSIDE_LLM", "METHODS", "find_pruner"]

BEFORE_LLM: dict[str, TokenPruner] = {
    pruner.name: pruner
    for pruner in (
        SharpV(),
        Random(),
        Uniform(),
        EVS(),
        VidCom2(),
        VCast(),
        DyCoke(),
        DivPrune(),
        PruneVid(),
        HoliTom(),
        FrameFusion(),
        FlashVID(),
        VisionZip(),
        PruMerge(),
        FastVID(),
    )
}
"""Those that choose the tokens which enter the LLM."""

INSIDE_LLM: dict[str, InLLMPruner] = {pruner.name: pruner for pruner in (FastV(), VTW())}
"""Those that let tokens leave inside the LLM."""

METHODS: dict[str, TokenPruner | InLLMPruner] = {**BEFORE_LLM, **INSIDE_LLM}


def find_pruner(method: str | TokenPruner | InLLMPruner) -> TokenPruner | InLLMPruner:
    """Returns the method of a name; a pruner of the caller's own is returned as it is.

    Raises:
        InputError: no method has that name.
    """
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise InputError(f"got method {method!r}: it must be one of {', '.join(METHODS)}")
    return METHODS[method]
