"""Statements: what is said of an image, in the form that attestations have.

Source: in-toto attestation framework, `spec/v1/statement.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dbimage.oci.digest import Digest
from mlflow_dbimage.oci.documents import read_json
from mlflow_dbimage.oci.image import canonical_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MEDIA_TYPE = "application/vnd.in-toto+json"

#: The annotation by which lists of referrers say what a statement is about.
PREDICATE_ANNOTATION = "in-toto.io/predicate-type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement about one image."""

    subject_name: str
    """How people call the image; nothing depends on it."""
    subject: Digest
    """Of the image's manifest."""
    predicate_type: str
    """A URI that says what the predicate means."""
    predicate: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Give the JSON form; equal statements have equal bytes."""
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [{"name": self.subject_name, "digest": {"sha256": self.subject.hex}}],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """Read a statement about one subject.

        Raises:
            ValueError: It is none.
        """
        try:
            document = read_json(data)
            if document["_type"] != STATEMENT_TYPE:
                raise ValueError(f"a statement of the type `{document['_type']}`")
            (subject,) = document["subject"]
            return cls(
                subject_name=str(subject.get("name", "")),
                subject=Digest.parse(f"sha256:{subject['digest']['sha256']}"),
                predicate_type=str(document["predicateType"]),
                predicate=dict(document["predicate"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an in-toto statement: {error}") from None
