"""One prediction on the model's own example, as a job would make it; nothing is written.

What a rehearsal imports is what a job imports: byte code is made for those modules.
"""

from __future__ import annotations

import io
import os
from typing import Optional

from .bodies import read_body
from .chunk import chunk_of_rows
from .failures import BadInput, BadRequest
from .inputs import InputMaker
from .model import Model, Scorer, check_params
from .outputs import writer_of
from .row_formats import arrow_parquet
from .signature import read


def rehearse(directory: str, example: Optional[str] = None) -> int:
    """Load a model and predict on its example; return how many rows were scored.

    Args:
        directory: Of the model.
        example: Name of its example file in there, a JSON body; None where it has none.

    Raises:
        ScoringFailure: What a job would end with.
    """
    file = read(directory)
    if example is None:
        Model(file)
        _import_parquet()
        return 0
    with open(os.path.join(directory, example), encoding="utf-8") as stream:
        body = read_body(stream)
    chunk = chunk_of_rows(body.rows)
    made = InputMaker(file.signature, ()).make(chunk)
    for position, fault in sorted(made.faults.items()):
        raise BadInput("row %d of the example: %s" % (position + 1, fault))
    predictions = Scorer(Model(file, check_params(body.params or {}, file)), False).score(made, 1)
    for form in ("csv", "jsonl"):
        writer = writer_of(form, io.BytesIO())
        writer.write(predictions.columns, {})
        writer.finish()
    _import_parquet()
    return predictions.size


def _import_parquet() -> None:
    try:
        arrow_parquet()
    except BadRequest:
        pass  # jobs of this model do without
