"""The scoring benchmark on shapes too small to time: what it says, and that it checks before it times."""

import subprocess
import sys

import pytest
import torch

from sharpv.bench import scoring
from sharpv.core import Scores


def test_every_shape_and_dtype_is_a_case():
    log = []
    result = scoring.run([(9, 6, 8), (1, 1, 1)], ["float32", "bfloat16"], repeats=2, log=log.append)
    assert len(log) == len(result["cases"]) == 4
    assert [case["shape"] for case in result["cases"]] == [[9, 6, 8], [9, 6, 8], [1, 1, 1], [1, 1, 1]]
    for case in result["cases"]:
        assert 0 < case["kept_share"] <= 1
        for middle, low, high in (*case["ms"].values(), *case["times_sum"].values()):
            assert 0 <= low <= middle <= high
    assert torch.__version__.startswith(result["versions"]["torch"])
    assert result["threads"] == 1


def test_threads_are_set_back():
    before = torch.get_num_threads()
    scoring.run([(2, 3, 4)], ["float32"], repeats=1, threads=before + 1)
    assert torch.get_num_threads() == before


def test_wrong_scores_are_not_timed(monkeypatch):
    def wrong(features):
        n, f, _ = features.shape
        return Scores(*torch.zeros(3, n, f).unbind(), torch.zeros(n))

    monkeypatch.setattr(scoring, "score", wrong)
    with pytest.raises(RuntimeError, match="are off by"):
        scoring.run([(2, 3, 4)], ["float32"], repeats=1)


def test_features_are_seeded_and_change_little_within_a_shot():
    features = scoring.video_like((17, 5, 400), seed=3)
    assert torch.equal(features, scoring.video_like((17, 5, 400), seed=3))
    cosine = torch.nn.functional.cosine_similarity(features[1:], features[:-1], dim=-1).mean(-1)
    cuts = [t for t in range(16) if cosine[t] < 0.8]
    assert cuts == [7, 15]


def test_importing_it_runs_nothing():
    code = "import sharpv.bench.scoring"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
