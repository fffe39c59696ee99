"""What leads to a program, as layers are laid over each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mlflow_dbimage.oci.programs import Programs


@dataclass
class Shown:
    """What a layer does."""

    programs: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()


LOWER = Shown(programs=("usr/bin/dash", "opt/a/x"), links={"bin": "usr/bin", "usr/bin/sh": "dash", "loop": "loop"})


def over(*layers: Shown) -> Programs:
    root = Programs()
    for layer in (LOWER, *layers):
        root.lay(layer)
    return root


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/usr/bin/dash", True),
        ("/bin/sh", True),
        ("/opt/a/../a/./x", True),
        ("/usr/bin", False),
        ("/loop", False),
        ("/loop/x", False),
    ],
)
def test_links_are_followed_as_linux_does(path: str, there: bool) -> None:
    assert over().has(path) is there


@pytest.mark.parametrize(
    ("upper", "path", "there"),
    [
        (Shown(hidden=("usr",)), "/bin/sh", False),
        (Shown(hidden=("usr/bin/",)), "/bin/sh", False),
        (Shown(hidden=("usr/",)), "/bin/sh", False),
        (Shown(hidden=("/",)), "/opt/a/x", False),
        (Shown(hidden=("us", "usr/b")), "/bin/sh", True),
        (Shown(hidden=("usr",), programs=("usr/bin/sh",)), "/bin/sh", True),
        (Shown(programs=("usr/bin/sh",)), "/bin/sh", True),
        (Shown(links={"usr/bin/dash": "nothing"}), "/bin/sh", False),
    ],
)
def test_what_a_layer_hides_or_replaces_is_gone(upper: Shown, path: str, there: bool) -> None:
    assert over(upper).has(path) is there
