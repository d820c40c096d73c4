"""The report: an evaluation as a JSON document with a versioned schema, and that for people.

`make` turns an evaluation into the document, `with_sweep` adds a sweep to it, `write` and `read` keep it. All else is
made of the document: a page (`render`, `write_page`), a model card (`model_card`, `model_card_json`,
`write_model_card`) and TensorBoard's events (`write_summaries`). These need the extra `report`. TensorFlow is loaded
only where a watermark is drawn or events are written.
"""

from honeykeras.report.card import model_card, model_card_json, write_model_card
from honeykeras.report.document import environment, make, with_sweep
from honeykeras.report.files import SCHEMA_VERSION, read, schema, write
from honeykeras.report.page import render, write_page
from honeykeras.report.tensorboard import write_summaries

__all__ = [
    "SCHEMA_VERSION",
    "environment",
    "make",
    "model_card",
    "model_card_json",
    "read",
    "render",
    "schema",
    "with_sweep",
    "write",
    "write_model_card",
    "write_page",
    "write_summaries",
]
