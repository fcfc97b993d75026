"""The rule in the page keeps exactly what the rule in Python keeps: many settings, every mask."""

import json
from importlib.resources import files

import numpy as np

from sharpv.config import SharpVConfig
from sharpv.core import anchor_order
from sharpv.viz.inspection import TokenScores
from tests.viz.inspections import chosen

GRIDS = [(1, 1), (1, 7), (2, 3), (4, 4), (5, 9), (14, 14)]
SOURCE = files("sharpv.viz").joinpath("templates/rule.js").read_text(encoding="utf-8")
CALL = """(text) => { SOURCE
  return JSON.parse(text).map(({ n, f, spatial, temporal, ratios, config, anchors }) => {
    const scores = { n, f };
    for (const [name, x] of Object.entries({ spatial, temporal, ratios })) scores[name] = new Float32Array(x);
    return Array.from(keptMask(scores, config, anchors));
  });
}""".replace("SOURCE", SOURCE)

Case = tuple[TokenScores, SharpVConfig, tuple[int, int]]


def scores_of(spatial, temporal, ratios=None) -> TokenScores:
    spatial, temporal = np.float32(spatial), np.float32(temporal)
    temporal[0] = 0
    if ratios is None:
        squares = np.square(np.concatenate([spatial[:1], temporal[1:]]))
        ratios = np.sqrt(squares.mean(-1)) / 2
    return TokenScores(spatial, temporal, np.float32(ratios))


def drawn_scores(rng: np.random.Generator, n: int, f: int) -> TokenScores:
    """Scores with ties, with still frames, or with neither."""
    spatial, temporal = rng.random((2, n, f), dtype=np.float32) * 2
    kind = rng.choice(["any", "ties", "still", "all still", "whole"])
    if kind == "ties":
        spatial, temporal = np.round(spatial * 2) / 2, np.round(temporal * 2) / 2
    if kind == "still":
        temporal[rng.random(n) < 0.5] = 0
    if kind == "all still":
        return scores_of(0 * spatial, 0 * temporal)
    # Ratios that are whole tokens but for rounding.
    ratios = rng.integers(0, f + 1, n) / f if kind == "whole" else None
    return scores_of(spatial, temporal, ratios)


def drawn_config(rng: np.random.Generator, scores: TokenScores) -> SharpVConfig:
    retention, threshold = "adaptive", None
    weight = float(rng.choice([0.0, 1.0, 0.1, 1 / 3, 2.5, rng.random() * 4]))
    mode = rng.choice(["adaptive", "budget", "threshold"])
    if mode == "budget":
        retention = float(rng.choice([1.0, 0.12, 0.25, 0.5, 1e-6, 1 - rng.random()]))
    if mode == "threshold":
        importance = scores.temporal + np.float32(weight) * scores.spatial
        # Just what a token has, or anything, or more than all have.
        threshold = float(rng.choice([rng.choice(importance.ravel()), rng.random() * 3, 1e9, -1.0]))
    return SharpVConfig(
        retention=retention,
        threshold=threshold,
        spatial_weight=weight,
        coverage=float(rng.choice([0.0, 0.0, 0.5, 1.0, rng.random()])),
        min_tokens_per_frame=int(rng.choice([0, 1, 2, 5, 1000])),
        bucket=int(rng.choice([1, 1, 2, 7, 64])),
    )


def drawn_cases(many: int) -> list[Case]:
    rng = np.random.default_rng(7)
    cases = []
    for _ in range(many):
        grid = GRIDS[rng.integers(len(GRIDS))]
        scores = drawn_scores(rng, int(rng.choice([1, 2, 3, 8, 15])), grid[0] * grid[1])
        cases.append((scores, drawn_config(rng, scores), grid))
    return cases


def made_cases() -> list[Case]:
    """The places where a slip would show first."""
    rng = np.random.default_rng(3)
    large = drawn_scores(rng, 64, 729)
    flat = scores_of(np.ones((4, 6)), np.full((4, 6), 0.5))
    # 0.5 of 5 tokens is 2.5, which rounds to 2; of 7 it is 3.5, which rounds to 4.
    halves = [scores_of(np.ones((1, f)), np.zeros((1, f))) for f in (5, 7)]
    # 0.5 of what frames keep, for anchors: 2.5 of 5.
    odd = scores_of(np.arange(10).reshape(1, 10) / 10, np.zeros((1, 10)))
    covered = [(odd, SharpVConfig(retention=0.5, coverage=0.5), (2, 5))]
    # As float32 1 + w S has only the digits of 1: tokens tie that would not in float64.
    near = scores_of(np.linspace(0, 1e-7, 12).reshape(2, 6), np.ones((2, 6)))
    # The 0.1 of float32 is a little more than 0.1.
    tenth = scores_of(np.float32([[0.1, 0.1, 0.2]]), np.zeros((1, 3)))
    # K is what one token has, after two roundings and not after one.
    rough = scores_of(rng.random((3, 8)) + 1, rng.random((3, 8)) / 1000)
    exact = (rough.temporal + np.float32(1 / 3) * rough.spatial)[1:].ravel().tolist()
    quiet = scores_of(np.ones((3, 4)), np.zeros((3, 4)), np.zeros(3))
    return [
        *((large, config, (27, 27)) for config in (SharpVConfig(retention=0.12), SharpVConfig(bucket=512))),
        *((flat, SharpVConfig(retention=share), (2, 3)) for share in (0.1, 0.3, 0.9, 1.0)),
        *((scores, SharpVConfig(retention=0.5), (1, scores.spatial.size)) for scores in halves),
        *covered,
        *((near, SharpVConfig(retention=0.5, spatial_weight=w), (2, 3)) for w in (0.0, 0.1, 1.0)),
        *((tenth, SharpVConfig(threshold=k), (1, 3)) for k in (0.1, float(np.float32(0.1)), 0.2)),
        *((quiet, SharpVConfig(retention=share, min_tokens_per_frame=0), (2, 2)) for share in (0.4, 0.6)),
        *((rough, SharpVConfig(threshold=k, spatial_weight=1 / 3), (2, 4)) for k in exact),
        (quiet, SharpVConfig(min_tokens_per_frame=0), (2, 2)),
        (quiet, SharpVConfig(bucket=5), (2, 2)),
        (quiet, SharpVConfig(bucket=1000), (2, 2)),
    ]


def test_every_mask_is_pythons(chromium):
    cases = made_cases() + drawn_cases(400)
    records = [
        {
            "n": scores.spatial.shape[0],
            "f": scores.spatial.shape[1],
            "spatial": scores.spatial.ravel().tolist(),
            "temporal": scores.temporal.ravel().tolist(),
            "ratios": scores.ratios.tolist(),
            "config": config.to_dict(),
            "anchors": anchor_order(*grid),
        }
        for scores, config, grid in cases
    ]
    page = chromium.new_page()
    found = page.evaluate(CALL, json.dumps(records))
    page.close()
    wanted = [chosen(scores, config, grid).ravel().tolist() for scores, config, grid in cases]
    wrong = [i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b]
    assert not wrong, [cases[i][1] for i in wrong[:5]]
