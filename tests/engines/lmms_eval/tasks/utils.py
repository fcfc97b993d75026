"""The functions of the tasks, which lmms-eval loads from beside their YAML files."""

from sharpv.shapesqa import Question
from sharpv.shapesqa.questions import is_right


def doc_to_visual(doc):
    return [doc["video"]]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def process_results(doc, results):
    question = Question(doc["family"], doc["question"], doc["answer"], tuple(doc["options"]))
    return {"accuracy": float(is_right(question, results[0]))}
