"""The maths of SharpV in plain torch: scores, selection, the memory rule, and what to encode."""

from sharpv.core.anchors import anchor_order, token_grid
from sharpv.core.memory import discard, layer_similarity, visual_columns
from sharpv.core.reuse import ReusePlan, plan_reuse
from sharpv.core.scores import Scores, score
from sharpv.core.select import keep_mask, select, token_counts

__all__ = [
    "ReusePlan",
    "Scores",
    "anchor_order",
    "discard",
    "keep_mask",
    "layer_similarity",
    "plan_reuse",
    "score",
    "select",
    "token_counts",
    "token_grid",
    "visual_columns",
]
