"""Methods that act inside the LLM, against an eager model in which what left is masked by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.hf.families import FAMILIES
from sharpv.methods import VTW, FastV, InLLMPruner
from tests.hf.conftest import GREEDY, Config, clip, distance, forward_loop, same_output, video_tokens
from tests.hf.test_chats import Chat

TOLERANCE = 1e-5  # float32, sums in another order
HALF = Config(retention=0.5, memory_threshold=None)
EVERYWHERE = sorted(
    name for name, family in FAMILIES.items() if not family.stage_1_only and not family.hybrid
)
METHODS = {"fastv": FastV(), "fastv 1": FastV(layer=1), "fastv 3": FastV(layer=3), "vtw": VTW()}


@pytest.fixture(params=["internvl", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def family(request) -> str:
    return request.param


@pytest.fixture(params=METHODS)
def method(request) -> InLLMPruner:
    return METHODS[request.param]


@dataclass
class Watched:
    """FastV that remembers the attention it was given."""

    layer: int = 2
    name = "watched"
    reads_attention = True

    def __post_init__(self) -> None:
        self.inner, self.given = FastV(self.layer), []
        self.check, self.leave_before = self.inner.check, self.inner.leave_before

    def stay(self, tokens, attention, config) -> Tensor:
        self.given.append(attention)
        return self.inner.stay(tokens, attention, config)


def left(model: Any, inputs: dict[str, Any], *reports: sharpv.Report) -> Tensor:
    """The columns of a prompt that leave, bool `[B, L]`; the reports stand in the order of its videos."""
    columns = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    for row, visual in enumerate(video_tokens(model, inputs)):
        videos = [video for report in reports for video in report.videos if video.row == row]
        stay = []
        for video in videos:
            stay += [token for frame in video.kept_inside for token in frame]
            stay += [any(map(any, video.kept_inside))] * video.separators
        columns[row, visual] = ~torch.tensor(stay, dtype=torch.bool)
    return columns


@contextmanager
def masked(model: Any, layer: int, columns: Tensor) -> Iterator[None]:
    """Has no token see some columns, bool `[B, L]`, from a layer on."""

    def hide(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = kwargs["attention_mask"].clone()
        gone = pad(columns, (0, mask.shape[-1] - columns.shape[1]))[:, None, None].expand(mask.shape)
        # A column that leaves sees itself, so that its softmax is defined; nothing sees it.
        gone = gone & ~torch.eye(mask.shape[-1], dtype=torch.bool)
        mask[gone] = torch.finfo(mask.dtype).min if mask.is_floating_point() else False
        return args, kwargs | {"attention_mask": mask}

    layers = model.get_decoder().layers[layer:]
    handles = [one.register_forward_pre_hook(hide, with_kwargs=True) for one in layers]
    yield
    for handle in handles:
        handle.remove()


def read_at_once(model: Any, prompt: dict[str, Any], new: Tensor, **options: Any) -> Any:
    """A dense pass over a prompt and what follows it."""
    more = new.shape[1]
    told = prompt | {"input_ids": torch.cat([prompt["input_ids"], new], 1)}
    told["attention_mask"] = pad(prompt["attention_mask"], (0, more), value=1)
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in told:
            told[name] = pad(told[name], (0, more))
    told.pop("position_ids", None)
    positions = model._prepare_position_ids_for_generation(told["input_ids"], dict(told))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        output = model(**told, position_ids=positions, use_cache=False, **options)
    model.set_attn_implementation("sdpa")
    return output


def new_tokens(output: Any, prompt: dict[str, Any]) -> Tensor:
    return output.sequences[:, prompt["input_ids"].shape[1] : -1]


def check(model: Any, prompt: dict[str, Any], output: Any, layer: int, columns: Tensor) -> None:
    """Holds the logits of an output against those of the dense model with `columns` masked."""
    with masked(model, layer, columns):
        expected = read_at_once(model, prompt, new_tokens(output, prompt)).logits
    expected = expected[:, prompt["input_ids"].shape[1] - 1 :]
    assert torch.allclose(torch.stack(output.logits, 1), expected, atol=TOLERANCE)


@pytest.mark.parametrize("family", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("method", ["fastv", "vtw"], indirect=True)
@pytest.mark.parametrize("threshold", [None, -1.0])
def test_keeping_everything_is_bit_exact(model, batch, method, threshold):
    config = Config(retention=1.0, memory_threshold=threshold)
    dense = model.generate(**batch, **GREEDY)
    with sharpv.attach(model, config, method=method) as session, torch.no_grad():
        assert same_output(model.generate(**batch, **GREEDY), dense)
        attached = model(**batch).logits
    assert torch.equal(attached, model(**batch).logits)
    for report in session.reports:
        assert report.layer_tokens == (report.tokens_total,) * 4
        assert report.layer_share == 1
        assert report.videos[0].kept_inside is None


@pytest.mark.parametrize("family", EVERYWHERE, indirect=True)
def test_with_and_without_a_cache_and_by_bare_forward_passes(model, batch):
    for method in (FastV(layer=1), VTW()):
        with sharpv.attach(model, HALF, method=method) as session, torch.no_grad():
            cached = model.generate(**batch, **GREEDY)
            assert all(map(torch.equal, cached.logits, forward_loop(model, batch, 6)))
            one, other = session.reports
            assert one.videos == other.videos
            assert one.layer_tokens == other.layer_tokens
            assert one.cache_bytes == other.cache_bytes < one.dense_cache_bytes
            again = model.generate(**batch, **GREEDY, use_cache=False)
        assert session.report.videos == one.videos
        assert distance(cached, again) < TOLERANCE


def test_what_left_is_seen_by_nothing_in_later_layers(model, batch, method):
    with sharpv.attach(model, HALF, method=method) as session:
        output = model.generate(**batch, **GREEDY)
    layer = getattr(method, "layer", None) or 2
    columns = left(model, batch, session.report)
    assert columns.any()
    check(model, batch, output, layer, columns)


def test_the_tokens_that_stay_are_those_with_the_most_attention(model, batch):
    pruner = Watched()
    with sharpv.attach(model, HALF, method=pruner) as session:
        model.generate(**batch, **GREEDY)
    eager = read_at_once(model, batch, batch["input_ids"][:, :0], output_attentions=True)
    for row, video in enumerate(session.report.videos):
        paid = eager.attentions[1][row].mean(0)[-1][video_tokens(model, batch)[row]]
        paid = paid[: video.tokens_total]
        torch.testing.assert_close(pruner.given[row], paid, atol=1e-7, rtol=1e-4)
        best = paid.topk(round(0.5 * video.tokens_total)).indices
        kept = torch.tensor(video.kept_inside).flatten().nonzero().flatten()
        assert kept.tolist() == best.sort().values.tolist()


def test_a_row_of_a_padded_batch_equals_the_row_alone(model, make_inputs, batch, method):
    model.to(torch.float64)
    with sharpv.attach(model, HALF, method=method) as session:
        together = model.generate(**batch, **GREEDY)
        whole = session.report
        for row, question in enumerate(("What?", "What happens in the end?")):
            alone = model.generate(**make_inputs([clip(row)], questions=(question,)), **GREEDY)
            assert session.report.videos[0].kept_inside == whole.videos[row].kept_inside
            for both, one in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(both[row], one[0], rtol=0, atol=1e-12)


def test_padding_on_the_right_changes_nothing(model, batch):
    shown = batch["attention_mask"].bool()
    order = (~shown).long().argsort(dim=1, stable=True)
    along = [name for name in batch if batch[name].shape == shown.shape]
    right = batch | {name: batch[name].gather(1, order) for name in along}
    with torch.no_grad(), sharpv.attach(model, HALF, method="fastv") as session:
        expected = model(**batch).logits[:, -1]
        logits = model(**right).logits
    last = right["attention_mask"].sum(1) - 1
    assert session.reports[0].videos == session.reports[1].videos
    assert torch.allclose(logits[torch.arange(2), last], expected, atol=TOLERANCE)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl", "qwen3_vl"], indirect=True)
def test_rows_without_a_video_and_with_two(model, make_inputs, method):
    requests = make_inputs([clip(0), clip(1)], [], [clip(2)])
    with sharpv.attach(model, HALF, method=method) as session:
        output = model.generate(**requests, **GREEDY)
    report = session.report
    assert [video.row for video in report.videos] == [0, 0, 2]
    if isinstance(method, FastV):
        # The videos of a row share its budget.
        stayed = [sum(map(sum, video.kept_inside)) for video in report.videos]
        totals = [video.tokens_total for video in report.videos]
        assert stayed[0] + stayed[1] == round(0.5 * (totals[0] + totals[1]))
        assert stayed[2] == round(0.5 * totals[2])
    check(model, requests, output, getattr(method, "layer", None) or 2, left(model, requests, report))


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"], indirect=True)
@pytest.mark.parametrize("method", ["fastv", "fastv 1", "vtw"], indirect=True)
def test_a_second_video_in_a_later_turn(model, make_inputs, method):
    with sharpv.attach(model, HALF, method=method) as session:
        chat = Chat(model, make_inputs, [[clip(0)], [clip(2)]], [[clip(1)], []])
        later = model.generate(**chat.turn, **GREEDY)
    first, second = session.reports
    columns = left(model, chat.whole, first, second)
    layer = getattr(method, "layer", None) or 2
    check(model, chat.whole, later, layer, columns)
    if isinstance(method, FastV):
        none = torch.empty(2, 0, dtype=torch.long)
        eager = read_at_once(model, chat.whole, none, output_attentions=True)
        paid = eager.attentions[layer - 1][0].mean(0)[-1][video_tokens(model, chat.whole)[0]]
        video = second.videos[0]
        start = first.videos[0].tokens_total + first.videos[0].separators
        best = paid[start : start + video.tokens_total].topk(round(0.5 * video.tokens_total)).indices
        kept = torch.tensor(video.kept_inside).flatten().nonzero().flatten()
        assert kept.tolist() == best.sort().values.tolist()


@pytest.mark.parametrize("rows", [1, 2])
def test_beams_with_a_cache_equal_beams_without(model, inputs, batch, method, rows):
    requests = (inputs, batch)[rows - 1]
    beams = {**GREEDY, "num_beams": 3, "num_return_sequences": 2}
    model.to(torch.float64)
    with sharpv.attach(model, HALF, method=method) as session:
        cached = model.generate(**requests, **beams)
        again = model.generate(**requests, **beams, use_cache=False)
        model.generate(**requests, **GREEDY)
    assert torch.equal(cached.sequences, again.sequences)
    torch.testing.assert_close(cached.sequences_scores, again.sequences_scores)
    by_beams, _, greedy = session.reports
    assert by_beams.videos == greedy.videos
    assert by_beams.layer_tokens == greedy.layer_tokens


def test_the_cache_holds_what_each_layer_read(model, inputs, method):
    dense = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True)[CACHE]
    with sharpv.attach(model, HALF, method=method) as session:
        cache = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True)[CACHE]
    prompt, report = inputs["input_ids"].shape[1], session.report
    visual, total = int(video_tokens(model, inputs).sum()), report.tokens_total
    for held, whole, tokens in zip(cache.layers, dense.layers, report.layer_tokens, strict=True):
        separators = (visual - total) * (tokens > 0)
        share = (prompt - visual + tokens + separators) / prompt
        for states, dense_states in ((held.keys, whole.keys), (held.values, whole.values)):
            assert states.untyped_storage().nbytes() == dense_states.untyped_storage().nbytes() * share
    assert report.layer_tokens[0] == total
    assert report.layer_tokens[-1] == (0 if isinstance(method, VTW) else round(total * 0.5))
    assert report.layer_share == sum(report.layer_tokens) / 4 / total
    assert report.cache_bytes < report.dense_cache_bytes
    assert cache.get_seq_length() == prompt
