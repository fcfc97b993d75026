"""The methods that merge against their twins."""

import pytest
import torch

from sharpv.methods import (
    FastVID,
    FlashVID,
    FrameFusion,
    HoliTom,
    PruMerge,
    PruneVid,
    VisionZip,
    needs_attention,
)
from tests.methods import attention_twins, merge_twins
from tests.methods.clips import choose, keep, looks, video
from tests.methods.twins import TIE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "f", "d"), [(1, 6, 4), (2, 9, 5), (6, 7, 16), (10, 8, 6)])
@pytest.mark.parametrize(
    "pruner",
    [PruneVid(), HoliTom(), FrameFusion(), FlashVID(), VisionZip(), PruMerge(), FastVID()],
    ids=lambda pruner: pruner.name,
)
def test_a_method_that_merges_gives_what_its_twin_gives(pruner, n, f, d, dtype):
    compared = 0
    precision = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(dtype, 1e-5)
    for seed in range(4):
        clip = video(n, f, d, seed, dtype)
        clip[n // 2 :] += 2 * clip[0].flip(0)  # a cut
        for share in (0.25, 0.5, 0.9):
            count = round(share * n * f)
            if needs_attention(pruner):
                tokens, lead = getattr(attention_twins, pruner.name)(clip, count, looks(n, f))
            else:
                tokens, lead = getattr(merge_twins, pruner.name)(clip, count)
            if lead < TIE:
                continue
            compared += 1
            mask, _, merged = choose(pruner, clip, keep(count, n, f))
            assert mask.flatten().nonzero().flatten().tolist() == sorted(tokens)
            expected = torch.tensor([tokens[place] for place in sorted(tokens)], dtype=torch.float64)
            torch.testing.assert_close(merged.double(), expected, rtol=precision, atol=precision)
    assert compared >= 4
