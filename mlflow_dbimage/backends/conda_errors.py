"""What rattler says when it fails, as one of our errors: shortened, with the model's lines it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlflow_dbimage.backends.credentials_in_urls import scrubbed
from mlflow_dbimage.environment_spec import Requirement
from mlflow_dbimage.errors import MatchError, ServiceError, said_of_disk
from mlflow_dbimage.locking.environment_solver import CondaRequest
from mlflow_dbimage.locking.lock_inputs import without_credentials

_MOST_REASON_LINES = 12
_NOT_FOUND = "No candidates were found for "


def unsolvable(reason: str, request: CondaRequest, pythons: Callable[[], Sequence[str]] = tuple) -> MatchError:
    """Return the error of a request that has no solution.

    Args:
        reason: The solver's own.
        request: What was asked.
        pythons: Gives the versions of Python that the channels have; called where none of them fits.
    """
    reason = scrubbed(reason).replace("Cannot solve the request because of: ", "").strip()
    lines = [line for line in reason.splitlines() if line.strip()]
    if len(lines) > _MOST_REASON_LINES:
        rest = len(lines) - _MOST_REASON_LINES
        lines = [*lines[:_MOST_REASON_LINES], f"and {rest} more lines"]
    if reason.startswith(_NOT_FOUND):
        code, title = "package-not-found", "no channel has a package that the model's environment needs"
        if reason.startswith(f"{_NOT_FOUND}python "):
            lines.append(f"they have Python {', '.join(pythons()) or 'in no version'}")
    else:
        code, title = "unsolvable", "no set of conda packages satisfies the model's environment"
    origins = [each for each in request.requirements if _name(each) in reason]
    named = "".join(f"\n  {each.origin}: {each.text}" for each in origins)
    channels = ", ".join(without_credentials(channel) for channel in request.channels)
    text = "\n  ".join([f"{title} (channels: {channels}):", *lines])
    return MatchError(code, text + named, hint="change the line, or map a channel that has the package")


def _name(requirement: Requirement) -> str:
    return requirement.text.rpartition("::")[2].split("[")[0].strip().split(" ")[0].rstrip("<>=!~0123456789.*, ")


def service_error(text: str, urls: Sequence[str], *, offline: bool) -> ServiceError:
    """Return the error of channels that cannot be read.

    Args:
        text: What rattler says, without credentials.
        urls: What was read.
        offline: Whether the network was allowed.
    """
    lines = "\n  ".join(text.splitlines()[:_MOST_REASON_LINES])
    disk = said_of_disk(text)
    if disk is not None:
        return disk
    places = ", ".join(sorted({without_credentials(url).rstrip("/") for url in urls}))
    if offline:
        return ServiceError(
            "offline",
            f"the caches lack what is needed of {places}, and the network may not be used:\n  {lines}",
            hint="build once with the network, or copy the cache of a machine that has",
        )
    return ServiceError(
        "channel-failed",
        f"cannot read a conda channel of {places}:\n  {lines}",
        hint="map the channel's name to a mirror that this machine reaches",
    )
