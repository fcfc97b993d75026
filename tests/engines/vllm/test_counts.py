"""The table of tokens per frame in docs/vllm.md, made again."""

from pathlib import Path

import pytest
import torch

from sharpv import SharpVConfig, keep_mask
from tests.engines.vllm.toys import Ask, twin

DOCS = Path(__file__).parents[3] / "docs" / "vllm.md"
FAMILY, FRAMES = "qwen2_5_vl", 16
GRID = N, _, _ = 8, 8, 8
MERGE = 2
NAMES = {"cut": "a cut in the middle", "noise": "noise"}


@pytest.fixture(scope="module")
def features(checkpoint):
    """Returns those of a kind of clip, `[n f, d]`."""
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    toy = twin(FAMILY, checkpoint(FAMILY))

    @torch.no_grad()
    def encoded(kind):
        inputs = Ask((kind,), frames=FRAMES).for_transformers(FAMILY, toy.processor)
        pixels, grid = inputs["pixel_values_videos"], inputs["video_grid_thw"]
        return toy.model.get_video_features(pixels, grid).pooler_output[0]

    return encoded


def told():
    """Returns what the docs say: for each clip and share, the tokens per frame by SharpV and by EVS."""
    rows, clip = {}, ""
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.replace("*", "").strip("|").split("|")]
        if len(cells) == 4 and cells[1] in ("0.25", "0.12"):
            clip = cells[0] or clip
            rows[clip, float(cells[1])] = [list(map(int, cell.split())) for cell in cells[2:]]
    return rows


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("share", [0.25, 0.12])
def test_the_counts_are_those_of_the_docs(features, kind, share):
    from vllm.multimodal.video_prune.evs import compute_retention_mask  # noqa: PLC0415

    encoded = features(kind)
    ours = keep_mask(encoded.view(N, -1, encoded.shape[-1]), SharpVConfig(retention=share))
    evs = compute_retention_mask(encoded, GRID, MERGE, q=1 - share)
    counts = [mask.view(N, -1).sum(1).tolist() for mask in (ours, evs)]
    assert told()[NAMES[kind], share] == counts
