"""ShapesQA: a synthetic world of moving shapes, with questions that can only be answered by watching."""

from sharpv.shapesqa.dataset import Sample, iterate, take
from sharpv.shapesqa.draw import sample_scene, scene_rng
from sharpv.shapesqa.questions import CAPTION, FAMILIES, Question, caption, caption_facts, questions
from sharpv.shapesqa.render import Rendered, render, render_clip
from sharpv.shapesqa.scene import SCENE_TYPES, SPLITS, Scene, Shape

__all__ = [
    "CAPTION",
    "FAMILIES",
    "SCENE_TYPES",
    "SPLITS",
    "Question",
    "Rendered",
    "Sample",
    "Scene",
    "Shape",
    "caption",
    "caption_facts",
    "iterate",
    "questions",
    "render",
    "render_clip",
    "sample_scene",
    "scene_rng",
    "take",
]
