"""The door of the images that we build: `score --input X --output Y`, their entry point.

Runs in the model's own environment, on Python 3.7 and newer; imports nothing but `mlflow_dbimage.scoring`.
"""

from __future__ import annotations

import argparse
import csv
import faulthandler
import json
import os
import sys
import traceback
from typing import IO, Any, Dict, List, NoReturn, Optional, Tuple

from mlflow_dbimage.scoring import VERSION
from mlflow_dbimage.scoring.failures import BadModel, BadRequest, ScoringFailure, Stopped
from mlflow_dbimage.scoring.job import CHUNK_ROWS, ScoreJob, run
from mlflow_dbimage.scoring.outputs import OUTPUT_FORMATS
from mlflow_dbimage.scoring.rows import INPUT_FORMATS
from mlflow_dbimage.scoring.self_check import check, write_report
from mlflow_dbimage.scoring.signature import read
from mlflow_dbimage.scoring.workplace import output_kept_apart, stopped_by_signals, writable_folders

_EXIT_CODES = """\
exit codes:
  0  done
  2  the command line is wrong
  3  the input is wrong: unreadable, a missing column, rows that cannot be scored
  4  the model does not load
  5  the output cannot be written
  6  the model failed while predicting
  130, 143  stopped by Ctrl-C or SIGTERM
A job that fails leaves no output file. Its reason is one line on standard error; DBIMAGE_TRACEBACK=1 adds the
traceback. Full documentation: docs/scoring.md of mlflow-dbimage.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadRequest(message + "; see `score --help`")


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line and return the exit code."""
    try:
        with stopped_by_signals(), writable_folders():
            options = _parser().parse_args(arguments)
            if options.describe:
                _describe(options.model)
                return 0
            with output_kept_apart() as stdout:
                if options.check:
                    return _check(options.model, stdout)
                return _score(options, stdout)
    except ScoringFailure as failure:
        _say("error: %s" % failure)
        _say_traceback()
        return failure.exit_code
    except Stopped as stopped:
        _say("error: stopped by signal %d; nothing was written" % (stopped.exit_code - 128))
        return stopped.exit_code


def _score(options: argparse.Namespace, stdout: IO[bytes]) -> int:
    missing = [name for name in ("input", "output") if getattr(options, name) is None]
    if missing:
        raise BadRequest("missing: %s; see `score --help`" % " and ".join("--" + name for name in missing))
    job = ScoreJob(
        model=options.model,
        input=options.input,
        output=options.output,
        input_format=options.input_format,
        output_format=options.output_format,
        keep=_columns(options.keep),
        params=_params(options.params),
        rejects=options.rejects,
        chunk_rows=options.chunk_rows,
    )
    _say(str(run(job, stdout, _say)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="score",
        description="Score rows with the model of this image.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--input",
        metavar="X",
        help="a file, a folder of part files, a glob pattern, or - for the standard input",
    )
    add("--output", metavar="Y", help="a file, or - for the standard output")
    add("--input-format", choices=INPUT_FORMATS, help="where the name of X does not tell it")
    add("--output-format", choices=OUTPUT_FORMATS, help="where the name of Y does not tell it")
    add("--keep", action="append", default=[], metavar="COLUMNS", help="columns of X to write too, by commas")
    add("--params", metavar="JSON", help="a JSON object of parameters for the model's predict")
    add("--rejects", metavar="FILE", help="set rows that cannot be scored aside, as JSON lines with reasons")
    add(
        "--chunk-rows",
        type=int,
        default=CHUNK_ROWS,
        metavar="N",
        help="rows in memory at a time (%(default)s)",
    )
    add("--model", default=_own_model(), metavar="DIR", help="another model than the image's (%(default)s)")
    add("--describe", action="store_true", help="print what the model takes and gives, as JSON, and end")
    add("--check", action="store_true", help="load the model, predict on its example, report as JSON, and end")
    version = "score %s, Python %d.%d.%d" % ((VERSION,) + sys.version_info[:3])
    add("--version", action="version", version=version)
    return parser


def _own_model() -> str:
    return os.path.join(os.environ.get("DBIMAGE_ROOT", "/opt/dbimage"), "model")


def _columns(texts: List[str]) -> Tuple[str, ...]:
    """Split names at commas, by the rules of CSV, so that a name may hold one."""
    found = [name for row in csv.reader(texts, skipinitialspace=True) for name in row if name]
    return tuple(dict.fromkeys(found))


def _params(text: Optional[str]) -> Dict[str, Any]:
    try:
        params = json.loads(text) if text is not None else {}
    except ValueError as error:
        raise BadRequest("--params is no JSON: %s" % error) from error
    if not isinstance(params, dict):
        raise BadRequest("--params is no JSON object")
    return params


def _describe(model: str) -> None:
    file = read(model)
    description = {
        "model": model,
        "mlflow_version": file.mlflow_version,
        "loader_module": file.loader_module,
        "python": "%d.%d.%d" % sys.version_info[:3],
        **file.signature.raw,
    }
    print(json.dumps(description, indent=2))


def _check(model: str, stdout: IO[bytes]) -> int:
    """Write the report of a self-check; what is wrong with the model is in it, and no failure of ours."""
    faulthandler.enable()
    if not os.path.isdir(model):
        raise BadModel("no model in `%s`: it is no folder" % model)
    stdout.write(write_report(check(model, _say)))
    stdout.flush()
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _say_traceback() -> None:
    if os.environ.get("DBIMAGE_TRACEBACK", "") not in ("", "0"):
        traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
