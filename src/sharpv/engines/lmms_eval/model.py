"""The model that lmms-eval builds: one of its own, with SharpV attached."""

import copy
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lmms_eval import models, utils
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from sharpv.engines.checkpoint import read_config
from sharpv.engines.lmms_eval.bases import Messages, arguments, mend, prefer_a_reader_that_works
from sharpv.engines.lmms_eval.records import Doc, Records, record, write_beside_results
from sharpv.engines.lmms_eval.settings import PREFIX, Settings
from sharpv.engines.lmms_eval.tested import BASES, find_base
from sharpv.errors import InputError, UnsupportedModelError
from sharpv.hf.attach import Session, attach
from sharpv.report import Report

__all__ = ["RunFailed", "SharpV"]

logger = logging.getLogger(__name__)

REFUSED = ("loglikelihood", "generate_until_multi_round", "generate_visual_cot")
"""Kinds of requests of lmms-eval that are not served."""

PADDING = "__padding_only__"
"""In the metadata of a request that lmms-eval repeats so that each process has as many."""


class RunFailed(BaseException):
    """A run that cannot go on. Its cause says why.

    It is no `Exception`, since lmms-eval catches those: `llava_hf` counts a request that raised one as an
    empty answer, which lowers the score, and the command ends with exit code 0.
    """


class SharpV(lmms):
    """The entry of `--model sharpv`. What it builds is an instance of the base's own class.

    Prompts, generation options and the order of requests are thus lmms-eval's, with SharpV and without it.
    """

    is_simple = False

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> lmms:
        """Builds the base and attaches SharpV to its model.

        Args:
            arg_string: of `--model_args`: `base`, a name in `BASES`; options of `Settings` after `sharpv_`;
                the rest is for the base.
            additional_config: what lmms-eval adds, such as `batch_size`.

        Raises:
            RunFailed: the base cannot be built, or SharpV not be attached.
        """
        try:
            return _build(arg_string, additional_config or {})
        except Exception as error:
            raise RunFailed(str(error)) from error

    def generate_until(self, requests: list[Instance]) -> list[Any]:
        """Is the base's."""
        raise NotImplementedError

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Is the base's."""
        raise NotImplementedError

    def generate_until_multi_round(self, requests: list[Instance]) -> list[Any]:
        """Is the base's."""
        raise NotImplementedError


def _build(arg_string: str, more: dict[str, Any]) -> lmms:
    try:
        given = utils.simple_parse_args_string(arg_string)
    except ValueError:
        raise InputError(f"got model_args {arg_string!r}: give name=value, with commas between") from None
    options = {name: given.pop(name) for name in list(given) if name.startswith(PREFIX)}
    settings = Settings.from_options({name.removeprefix(PREFIX): options[name] for name in options})
    name = given.pop("base", None)
    if name is None:
        raise InputError(f"model_args name no base: add base=, one of {', '.join(BASES)}")
    known = find_base(name)
    prefer_a_reader_that_works()
    base = models.get_model(name)
    chosen = arguments(base, {key: more[key] for key in more if more[key] is not None} | given)
    family = read_config(chosen["pretrained"]).get("model_type")
    if family not in known.families:
        raise UnsupportedModelError(
            f"got a checkpoint of type {family!r} for base={name}, which was run with "
            f"{', '.join(known.families)} only"
        )
    lm = base(**chosen)
    session = attach(lm.model, settings.config, method=settings.method) if settings.enabled else None
    about = {"base": name, "pretrained": given["pretrained"], **settings.to_dict()}
    _Run(lm, session, Records(about), shows_images=known.shows_images)
    return lm


class _Run:
    """Stands between lmms-eval, a model of it, and the model's `generate()`.

    Attributes:
        records: of the requests that were served.
    """

    def __init__(self, lm: Any, session: Session | None, records: Records, *, shows_images: bool) -> None:
        self.records = records
        self._session = session
        self._shows_images = shows_images
        self._change: Callable[[Messages], Messages] = mend(lm)
        self._asked: dict[Doc, int] = {}
        self._model, self._serve, self._clean = lm.model, lm.generate_until, lm.clean
        self._generate = self._model.generate
        self._model.generate = self.generate
        lm.generate_until, lm.clean = self.generate_until, self.clean
        for name in REFUSED:
            setattr(lm, name, functools.partial(_refuse, name))
        write_beside_results(records)

    def generate_until(self, requests: Sequence[Instance]) -> list[Any]:
        """Serves requests as the base does, and says so if none of them could be pruned.

        Raises:
            RunFailed: a request failed, or the base does not call its model's `generate()`.
        """
        before = len(self.records.requests)
        try:
            answers = self._serve([replace(request, arguments=self._told(request)) for request in requests])
        except Exception as error:
            raise RunFailed(f"{self._named()}{error}") from error
        new = self.records.requests[before:]
        if self._session is not None and new and not any(request["videos"] for request in new):
            logger.warning("none of %d requests held a video: nothing was pruned", len(new))
        return answers

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Runs one request of the model, and records it.

        Raises:
            RunFailed: it raised anything, or a clip was lost on the way.
        """
        try:
            start = time.perf_counter()
            output = self._generate(*args, **kwargs)
            seconds = time.perf_counter() - start
            report = self._session.report if self._session is not None else None
            self._require_clips(kwargs, report)
            docs = [doc for doc in self._asked if not doc.padding]
            if docs:
                self.records.requests.append(record(docs, kwargs, output, seconds, report))
        except Exception as error:
            raise RunFailed(f"{self._named()}{error}") from error
        self._asked = {}
        return output

    def clean(self) -> None:
        """Lets go of the model, as lmms-eval does when all is answered, and gathers the records."""
        if self._session is None:
            del self._model.generate
        else:
            self._model.generate = self._generate
            self._session.detach()
        self._model = self._generate = self._session = None
        self.records.gather()
        self._clean()

    def _require_clips(self, inputs: Mapping[str, Any], report: Report | None) -> None:
        """Checks that the clips of a request went in, and were pruned.

        lmms-eval goes on without a clip that it cannot read, which lowers the score.
        """
        clips = sum(self._asked.values())
        reached = clips if self._shows_images and "pixel_values" in inputs else _clips_in(inputs)
        if reached < clips:
            raise InputError(
                f"got {clips} clips, of which {reached} reached the model: what lmms-eval printed says why"
            )
        if report is not None and len(report.videos) < clips:
            notes = "; ".join(report.notes) or "the others did not reach the model"
            raise InputError(f"got {clips} clips, of which {len(report.videos)} could be pruned: {notes}")

    def _named(self) -> str:
        """Returns the beginning of a message on the documents that are being served."""
        return f"request {', '.join(map(str, self._asked))}: " if self._asked else ""

    def _told(self, request: Instance) -> tuple[Any, ...]:
        """Returns the arguments of a request, whose functions of a document say when they are called."""
        padding = PADDING in (request.metadata or {})
        doc = Doc(request.task_name, request.doc_id, padding)
        # llava_hf writes into the generation options, after which lmms-eval's cache knows them no more.
        return tuple(self._telling(each, doc) if callable(each) else copy.copy(each) for each in request.args)

    def _telling(self, function: Callable[..., Any], doc: Doc) -> Callable[..., Any]:
        @functools.wraps(function)
        def told(*values: Any, **options: Any) -> Any:
            self._asked.setdefault(doc, 0)
            made = function(*values, **options)
            self._asked[doc] = max(self._asked[doc], _clips(made))
            return self._change(made) if _is_chat(made) else made

        return told


def _refuse(name: str, requests: Sequence[Instance]) -> list[Any]:
    """Refuses a kind of request for which prompts would be pruned without a record, or not at all."""
    raise RunFailed(f"a task asks for {name}: with SharpV, only tasks of generate_until can be run")


def _clips_in(inputs: Mapping[str, Any]) -> int:
    """Returns the clips among the inputs of `generate()`; the Qwens hold the pixels of all in one tensor."""
    names = ("video_grid_thw", "pixel_values_videos")
    return next((len(inputs[name]) for name in names if inputs.get(name) is not None), 0)


def _is_chat(made: Any) -> bool:
    return isinstance(made, list) and all(isinstance(each, dict) and "role" in each for each in made)


def _clips(made: Any) -> int:
    """Returns the clips that a function of a document gave: parts of messages, or paths among visuals."""
    if not isinstance(made, list | tuple):
        return 0
    if _is_chat(made):
        return sum(part["type"] == "video" for message in made for part in message["content"])
    return sum(isinstance(each, str) for each in made)
