"""The check of a model before its image is laid out: it makes the reference, and shows what a job imports.

What a rehearsal imports is what a job imports: byte code is made for those modules.
"""

from __future__ import annotations

import io
import sys
from typing import Optional

from .failures import BadRequest
from .outputs import writer_of
from .row_formats import arrow_parquet
from .self_check import SelfCheck


def rehearse(directory: str, example: Optional[str] = None) -> SelfCheck:
    """Load a model, predict on its example, and write the predictions to nowhere, as a job would.

    What the model's requirements import besides is left to `SelfCheck.finish`.

    Args:
        directory: Of the model.
        example: Name of its example file in there; None where MLmodel names none.

    Raises:
        ScoringFailure: Its predictions cannot be written.
    """
    checked = SelfCheck(directory, lambda line: print(line, file=sys.stderr, flush=True))
    checked.exercise(example)
    if checked.predictions is not None:
        for form in ("csv", "jsonl"):
            writer = writer_of(form, io.BytesIO())
            writer.write(checked.predictions.columns, {})
            writer.finish()
    _import_parquet()
    return checked


def _import_parquet() -> None:
    try:
        arrow_parquet()
    except BadRequest:
        pass  # jobs of this model do without
