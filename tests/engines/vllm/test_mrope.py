"""Positions that travel behind the features: exact in every dtype, however the prompt is cut into chunks."""

from types import SimpleNamespace

import pytest
import torch

from sharpv.errors import InputError

IMAGE, VIDEO = 8, 9


@pytest.fixture(scope="module")
def mrope():
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    from sharpv.engines.vllm import mrope  # noqa: PLC0415

    return mrope


@pytest.fixture
def model(mrope):
    model = object.__new__(mrope.SharpVMRope)
    model.config = SimpleNamespace(image_token_id=IMAGE, video_token_id=VIDEO)
    return model


def items(mrope, dtype):
    """Two items of 4 and 6 rows; the second begins with two rows of text, and reaches far."""
    near = torch.arange(4).expand(3, 4)
    far = torch.tensor([0, 1, 255, 256, 257, 70001]) * torch.tensor([[1], [2], [3]])
    embeddings = []
    for positions, lead in ((near, 0), (far, 2)):
        features = torch.randn(positions.shape[1], 5)
        columns = mrope.position_columns(positions, lead)
        embeddings.append(torch.cat([features, columns], dim=1).to(dtype))
    return [near, far], embeddings


# Text, an image, text, a video that begins with text, text.
PROMPT = [1, 2, IMAGE, IMAGE, IMAGE, IMAGE, 3, 4, 5, VIDEO, VIDEO, VIDEO, VIDEO, 6, 7]
SPANS = [(2, 6), (7, 13)]
INITIAL = torch.tensor([0, 1, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 1000, 1001]).expand(3, -1)
BASES = [2, 21]


def expected(positions):
    filled = INITIAL.clone()
    for (start, end), base, own in zip(SPANS, BASES, positions, strict=True):
        filled[:, start:end] = own + base
    return filled


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8, 100])
def test_chunks_of_any_size_give_the_same_exact_positions(mrope, model, dtype, chunk):
    own, embeddings = items(mrope, dtype)
    filled = INITIAL.clone()
    for start in range(0, len(PROMPT), chunk):
        rows = [
            embedding[max(start - low, 0) : start + chunk - low]
            for (low, high), embedding in zip(SPANS, embeddings, strict=True)
            if low < start + chunk and start < high
        ]
        stripped, filled, delta = model.recompute_mrope_positions(PROMPT, rows, filled, start)
        assert [row.shape[1] for row in stripped] == [5] * len(rows)
    assert torch.equal(filled, expected(own))
    assert delta == int(expected(own).max()) + 1 - len(PROMPT)


def test_reading_them_again_changes_nothing(mrope, model):
    own, embeddings = items(mrope, torch.bfloat16)
    _, once, _ = model.recompute_mrope_positions(torch.tensor(PROMPT), embeddings, INITIAL, 0)
    _, twice, _ = model.recompute_mrope_positions(torch.tensor(PROMPT), embeddings, once, 0)
    assert torch.equal(once, twice)
    assert torch.equal(once, expected(own))


def test_tokens_of_media_in_the_text_never_raise(mrope, model):
    # The processor refuses them; here they must not stop the engine, whatever positions come out.
    _, embeddings = items(mrope, torch.bfloat16)
    text = [1, 2, 3]
    for stray in ([VIDEO], [VIDEO] * 4, [IMAGE, *text, VIDEO], [*text] * 9):
        for rows in (embeddings, embeddings[::-1], [embeddings[1][2:], embeddings[0]]):
            for prompt in (stray + PROMPT, stray[:1] + PROMPT[6:], PROMPT[6:] + stray):
                initial = torch.zeros(3, len(prompt), dtype=torch.long)
                for start in range(2, len(prompt)):
                    stripped, filled, _ = model.recompute_mrope_positions(prompt, rows, initial, start)
                    assert [len(row) for row in stripped] == [len(row) for row in rows]
                    assert filled.shape == initial.shape


def test_a_second_model_of_one_configuration_finds_our_own_sign_there(mrope):
    class Stock:
        def __init__(self, *, vllm_config, prefix):
            self.config = SimpleNamespace()

    class Model(mrope.SharpVMRope, Stock):
        pass

    settings = SimpleNamespace(video_pruning_rate=None)
    config = SimpleNamespace(
        model_config=SimpleNamespace(get_multimodal_config=lambda: settings), speculative_config=None
    )
    Model(vllm_config=config)
    assert settings.video_pruning_rate > 0
    Model(vllm_config=config)
    settings.video_pruning_rate = 0.5
    with pytest.raises(InputError, match="leave it out"):
        Model(vllm_config=config)
