"""The model that lmms-eval builds: one of its own, with SharpV attached."""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from lmms_eval import models, utils
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from sharpv.engines.lmms_eval.bases import Messages, arguments, mend, prefer_a_reader_that_works
from sharpv.engines.lmms_eval.records import Doc, Records, record, write_beside_results
from sharpv.engines.lmms_eval.settings import PREFIX, Settings
from sharpv.errors import InputError
from sharpv.hf.attach import Session, attach

__all__ = ["RunFailed", "SharpV"]

logger = logging.getLogger(__name__)


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
            arg_string: of `--model_args`: `base`, a model of lmms-eval that runs in transformers; `simple`,
                whether to take its simple class; options of `Settings` after `sharpv_`; the rest is for the
                base.
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
    given = utils.simple_parse_args_string(arg_string)
    options = {name: given.pop(name) for name in list(given) if name.startswith(PREFIX)}
    settings = Settings.from_options({name.removeprefix(PREFIX): options[name] for name in options})
    name, simple = given.pop("base", None), given.pop("simple", False)
    if name is None:
        raise InputError("model_args name no base: add base=llava_hf, base=qwen2_5_vl or the like")
    prefer_a_reader_that_works()
    base = models.get_model(name, simple)
    lm = base(**arguments(base, {key: more[key] for key in more if more[key] is not None} | given))
    model = getattr(lm, "model", None)
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "generate"):
        raise InputError(f"lmms-eval's {name} runs no model of transformers here: give another base")
    session = attach(model, settings.config, method=settings.method) if settings.enabled else None
    about = {"base": name, "pretrained": given.get("pretrained"), **settings.to_dict()}
    _Run(lm, model, session, Records(about), mend(lm))
    return lm


class _Run:
    """Stands between lmms-eval, a model of it, and the model's `generate()`.

    Attributes:
        records: of the requests that were served.
    """

    def __init__(
        self,
        lm: Any,
        model: Any,
        session: Session | None,
        records: Records,
        change: Callable[[Messages], Messages],
    ) -> None:
        self.records = records
        self._session = session
        self._change = change
        self._docs: dict[Doc, None] = {}
        self._serve, self._generate = lm.generate_until, model.generate
        lm.generate_until = self.generate_until
        model.generate = self.generate
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
            raise RunFailed(str(error)) from error
        new = self.records.requests[before:]
        if requests and not new:
            raise RunFailed("the base did not call generate() of its model, so that nothing can be pruned")
        if self._session is not None and not any(request["videos"] for request in new):
            logger.warning("none of %d requests held a video: nothing was pruned", len(new))
        return answers

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Runs one request of the model, and records it.

        Raises:
            RunFailed: it raised anything.
        """
        try:
            start = time.perf_counter()
            output = self._generate(*args, **kwargs)
            seconds = time.perf_counter() - start
            report = self._session.report if self._session is not None else None
            self.records.requests.append(record(list(self._docs), kwargs, output, seconds, report))
        except Exception as error:
            raise RunFailed(f"request {', '.join(map(str, self._docs))}: {error}") from error
        self._docs = {}
        return output

    def _told(self, request: Instance) -> tuple[Any, ...]:
        """Returns the arguments of a request, whose functions of a document say when they are called."""
        doc = Doc(request.task_name, request.doc_id)
        return tuple(self._telling(each, doc) if callable(each) else each for each in request.args)

    def _telling(self, function: Callable[[Any], Any], doc: Doc) -> Callable[[Any], Any]:
        @functools.wraps(function)
        def told(values: Any) -> Any:
            self._docs[doc] = None
            made = function(values)
            return self._change(made) if _is_chat(made) else made

        return told


def _is_chat(made: Any) -> bool:
    return isinstance(made, list) and all(isinstance(each, dict) and "role" in each for each in made)
