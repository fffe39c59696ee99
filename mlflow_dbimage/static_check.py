"""What is checked of an image's files, without running any: layers, permissions, byte code, scripts, secrets.

Only our own layers are looked at, but for the programs that scripts of ours are run by. What clusters need of the
rest is held against `dcs_contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from mlflow_dbimage.build_receipt import ImageRecord
from mlflow_dbimage.layer_facts import LayerFacts
from mlflow_dbimage.model_checks import Check
from mlflow_dbimage.oci import validate
from mlflow_dbimage.oci.image import Image
from mlflow_dbimage.oci.programs import Programs
from mlflow_dbimage.secret_patterns import secrets_in

_NAMED = 3


def check_files(
    image: Image,
    record: ImageRecord,
    ours: Sequence[LayerFacts],
    base: Callable[[], Programs],
    remains: Callable[[], Sequence[str]],
) -> tuple[Check, ...]:
    """Check the files of an image.

    Args:
        image: One of ours.
        record: Its record.
        ours: The facts of our layers, in their order.
        base: Gives the programs of the image's base.
        remains: Tells what of the base is visible and should not be.

    Raises:
        DbimageError: What `base` and `remains` raise.
    """
    whole = validate.problems(image, from_layer=len(image.layers))
    broken = [
        f"layer {position}: {problem}"
        for position, facts in enumerate(ours, record.base_layers)
        for problem in facts.problems
    ]
    layers = _check("layers", [*whole, *_unrecorded(image, record), *broken], f"{len(ours)} of ours, as recorded")
    if layers.outcome == "failed":
        return (layers,)

    return (
        layers,
        _permissions(ours),
        _check("byte-code", [fault for facts in ours for fault in facts.stale], "valid for its sources"),
        _check("whiteouts", remains(), "nothing is visible that went"),
        _scripts(ours, base),
        _secrets(image, ours),
    )


def _check(name: str, faults: Sequence[str], passed: str) -> Check:
    if not faults:
        return Check(name=name, outcome="passed", detail=passed)
    named = "; ".join(faults[:_NAMED])
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return Check(name=name, outcome="failed", detail=f"{named}{more}")


def _unrecorded(image: Image, record: ImageRecord) -> Iterator[str]:
    found = [str(layer.diff_id) for layer in image.layers[record.base_layers :]]
    if found != [layer.diff_id for layer in record.layers]:
        yield "the layers are not those of the image's record"


def _permissions(ours: Iterable[LayerFacts]) -> Check:
    closed = [f"`/{path}`" for facts in ours for path in facts.closed]
    faults = [f"{each} cannot be read by the scoring user" for each in closed]
    return _check("permissions", faults, "any user can read all of it")


def _scripts(ours: Sequence[LayerFacts], base: Callable[[], Programs]) -> Check:
    """Look for what runs each script: in our layers, and only where it is not there in the base's."""
    wanted = {path: program for facts in ours for path, program in facts.scripts.items()}
    missing = _lacking(wanted, _over(Programs(), ours))
    if missing:
        missing = _lacking(missing, _over(base(), ours))
    faults = [f"`/{path}` is run by `{program}`, which the image lacks" for path, program in missing.items()]
    return _check("scripts", faults, f"{len(wanted)} find what runs them")


def _over(root: Programs, layers: Iterable[LayerFacts]) -> Programs:
    for facts in layers:
        root.lay(facts)
    return root


def _lacking(scripts: dict[str, str], root: Programs) -> dict[str, str]:
    there = {program for program in set(scripts.values()) if root.has(program)}
    return {path: program for path, program in scripts.items() if program not in there}


def _secrets(image: Image, ours: Iterable[LayerFacts]) -> Check:
    texts = {
        "the image's config": image.config,
        "the image's manifest": image.manifest,
    }
    faults = [f"{kind} in {place}" for place, text in texts.items() for kind in secrets_in(text)]
    faults += [each for facts in ours for each in facts.secrets]
    return _check("secrets", faults, "none in what we wrote, the model, the labels and variables")
