"""What a machine leaves for others in a registry: a record of each kind, with every field that a reader takes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlflow_dbimage.oci.descriptor import OCI_LAYER_TAR

HEX = "0" * 64
_DIGEST = f"sha256:{HEX}"
_PACKAGE = {
    "name": "python",
    "version": "3.11.7",
    "build": "h1_0",
    "build_number": 0,
    "subdir": "linux-64",
    "file_name": "python-3.11.7-h1_0.conda",
    "sha256": HEX,
    "size": 7,
    "channel": "conda-forge",
    "canonical_url": "https://x.example/linux-64/python-3.11.7-h1_0.conda",
    "url": "https://y.example/linux-64/python-3.11.7-h1_0.conda",
    "metadata": {"depends": ["libz"], "timestamp": 1, "noarch": None, "md5": "0" * 32, "license": "PSF"},
}
_WHEEL = {
    "name": "six",
    "version": "1.16.0",
    "file_name": "six-1.16.0-py3-none-any.whl",
    "sha256": HEX,
    "size": 7,
    "url": "https://x.example/six-1.16.0-py3-none-any.whl",
    "path": "code/six-1.16.0-py3-none-any.whl",
    "built_from": {
        "kind": "path",
        "location": "code/six",
        "sha256": HEX,
        "commit": "0" * 40,
        "subdirectory": "six",
    },
    "omitted": ["bin/six"],
}
_FACTS: dict[str, object] = {
    "problems": [],
    "closed": ["opt/x"],
    "stale": ["x"],
    "scripts": {"bin/x": "/bin/sh"},
    "secrets": ["x"],
    "links": {"bin/y": "x"},
    "programs": ["bin/x"],
    "hidden": ["bin"],
    "has_part": True,
}
_PART: dict[str, object] = {
    "entries": [
        ["-", "etc", 0, "", None],
        ["/", "opt/java", 0, "", None],
        ["file", "etc/os-release", 420, "", "ID=debian\n"],
        ["symlink", "bin", 511, "usr/bin", None],
    ]
}
_ADDED = {
    "kind": "environment",
    "descriptor": {"mediaType": OCI_LAYER_TAR, "digest": _DIGEST, "size": 7},
    "diff_id": _DIGEST,
    "title": "six 1.16.0",
    "contents": ["six 1.16.0"],
}
_DISTRIBUTION = {
    "name": "six",
    "version": "1.16.0",
    "own": True,
    "requires": ["x"],
    "extras": ["y"],
    "files": {"databricks/six.py": HEX},
    "compiled": False,
}
#: By what is asked for: the records that a machine leaves for others.
RECORDS: Mapping[str, list[tuple[str, dict[str, object]]]] = {
    "inventories": [
        (
            "inventories",
            {
                "glibc": "2.36",
                "os_release": {"ID": "debian"},
                "directories": {"opt": [493, 0, 0]},
                "programs": ["usr/bin/x"],
                "links": {"bin": "usr/bin"},
                "packages": [{"name": "a", "version": "1", "architecture": "all", "source": "b@1"}],
            },
        ),
        ("base-parts", {"layers": [_PART]}),
        ("base-distributions", {"files": ["databricks/x"], "owned": {"databricks/RECORD": ["databricks/x"]}}),
        (
            "cluster-pythons",
            {
                "python": "3.11.7",
                "distributions": [_DISTRIBUTION],
                "paths": ["databricks/six.py"],
                "folders": {"databricks": [493, 0, 0]},
            },
        ),
    ],
    "locks": [
        (
            "locks",
            {
                "version": 1,
                "platform": "linux/amd64",
                "python": "3.11.7",
                "conda": [_PACKAGE],
                "wheels": [_WHEEL],
                "decisions": [{"distribution": "six", "owner": "pip", "reason": "x"}],
                "notes": ["x"],
                "as_of": "2026-06-01T00:00:00+00:00",
                "cluster": {"kept": {"a": "1"}, "superseded": ["b"], "builder": [_PACKAGE]},
            },
        )
    ],
    "environments": [
        (
            "environments",
            {
                "bytecode": "imported",
                "bytecode_modules": _DIGEST,
                "notes": [],
                "licences": [["pip", "six", "MIT"]],
                "layers": [_ADDED],
            },
        ),
        ("layer-facts", _FACTS),
        ("layer-parts", _PART),
        ("remains", {"lines": ["x"]}),
    ],
}


def records(*found: tuple[str, object]) -> bytes:
    """Write records as a machine leaves them."""
    return json.dumps({"version": 1, "records": [(kind, HEX, content) for kind, content in found]}).encode()
