"""The functions of the tasks, which lmms-eval loads from beside their YAML files."""

from PIL import Image

from sharpv.shapesqa import Question
from sharpv.shapesqa.questions import is_right


def doc_to_visual(doc):
    return [doc["video"]]


def doc_to_media(doc):
    """Clips by their paths, pictures as such."""
    return [path if path.endswith("mp4") else Image.open(path) for path in doc["media"]]


def doc_to_cut(doc):
    text = {"type": "text", "text": doc["question"]}
    clip = {"type": "video", "url": doc["video"], "start_time": 0.5, "end_time": 1.0}
    return [{"role": "user", "content": [clip, text]}]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def process_results(doc, results):
    question = Question(doc["family"], doc["question"], doc["answer"], tuple(doc["options"]))
    return {"accuracy": float(is_right(question, results[0]))}
