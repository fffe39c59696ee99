"""`make demo`: a model is registered, packaged, scored, renewed and refused, by the commands of a user."""

from __future__ import annotations

import sys

from scripts.demo import story
from scripts.demo.workshop import CommandFailed


def main() -> int:
    """Tell the story; say in one line where it stopped."""
    try:
        story.tell()
    except CommandFailed as problem:
        print(f"\nthe demo stopped: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
