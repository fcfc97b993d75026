"""Families of which stage 1 of `generate()` works: Gemma 4 makes its masks before the decoder."""

import pytest
import torch

import sharpv
from sharpv._compat import installed_transformers
from sharpv.hf.cache import CACHE
from sharpv.hf.families import FAMILIES
from tests.hf.conftest import (
    FORWARD_OF_GEMMA_4,
    GREEDY,
    STAGE_1,
    TEXT_ONLY,
    Config,
    clip,
    distance,
)

TOLERANCE = 1e-5  # float32, sums in another order; Gemma 4 scales its logits up


@pytest.fixture(params=sorted(name for name, family in FAMILIES.items() if family.stage_1_only))
def family(request) -> str:
    return request.param


def test_prune_inputs_equals_an_attached_session(model, attention, requests):
    with sharpv.attach(model, Config()) as session:
        attached = model.generate(**requests, **GREEDY)
    report = session.report
    assert 0 < report.tokens_kept < report.tokens_total
    assert report.cache_bytes < report.dense_cache_bytes
    assert report.layers == ()
    assert "stage 2 did not run: Gemma 4 makes" in report.notes[0]
    pruned = sharpv.prune_inputs(model, requests, STAGE_1)
    explicit = model.generate(**pruned, **GREEDY)
    width, whole = pruned["input_ids"].shape[1], requests["input_ids"].shape[1]
    assert torch.equal(explicit.sequences[:, width:], attached.sequences[:, whole:])
    assert distance(explicit, attached) < TOLERANCE


@pytest.fixture
def rows_apart(model, make_inputs, batch):
    """Runs a padded batch, and each row alone: the new tokens must agree. Returns pairs of logits by row."""

    def run(**options):
        model.to(torch.float64)
        with sharpv.attach(model, Config()) as session:
            together = model.generate(**batch, **GREEDY, **options)
            whole = session.report
            for row, question in enumerate(("What?", "What happens in the end?")):
                one = make_inputs([clip(row)], questions=(question,))
                alone = model.generate(**one, **GREEDY, **options)
                new = alone.sequences[0, one["input_ids"].shape[1] :]
                assert torch.equal(new, together.sequences[row, batch["input_ids"].shape[1] :])
                assert session.report.videos[0].kept == whole.videos[row].kept
                yield [(both[row], last[0]) for both, last in zip(together.logits, alone.logits, strict=True)]

    return run


def test_a_row_of_a_padded_batch_equals_the_row_alone(rows_apart):
    for steps in rows_apart():
        assert max(float((both - alone).abs().max()) for both, alone in steps) < TOLERANCE


def test_beams_of_a_ragged_batch_equal_each_row_alone(rows_apart):
    assert len(list(rows_apart(num_beams=3))) == 2


def test_what_does_not_work_is_said_and_refused(model, inputs, caplog):
    with sharpv.attach(model, TEXT_ONLY) as session:
        assert (
            "Gemma 4: generate() runs stage 1; stage 2, a bare forward() with a video, and later turns on "
            "one cache do not work, since Gemma 4 makes the attention masks of all layers before its "
            "decoder runs"
        ) in caplog.text
        with pytest.raises(sharpv.InputError, match="a forward pass with a video"):
            model(**inputs)
        output = model.generate(**inputs, **GREEDY)
        assert getattr(output, CACHE) is None
        cache = model(input_ids=inputs["input_ids"][:, :3])[CACHE]
        with pytest.raises(sharpv.InputError, match="goes on from a cache"):
            model.generate(**inputs, **{CACHE: cache}, **GREEDY)
        assert not session.owned
    if installed_transformers() >= FORWARD_OF_GEMMA_4:
        with torch.no_grad():
            model(**inputs)
