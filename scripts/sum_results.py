"""Adds up the JUnit reports of several test runs; fails where a test failed or none ran."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree


def main(reports: Sequence[str]) -> int:
    """Print `N passed, N failed` for all reports together."""
    passed = failed = 0
    for report in reports:
        for suite in ElementTree.parse(Path(report)).iter("testsuite"):
            broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            failed += broken
            passed += int(suite.get("tests", 0)) - broken - int(suite.get("skipped", 0))
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
