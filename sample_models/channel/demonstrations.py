"""Small packages that exist to show something; each sample model that uses one names it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from .package import PLACEHOLDER, Package, PackageFile

_RATES_SCRIPT = f"""\
#!/bin/sh
# Prints how many euros one unit of a currency is worth.
while IFS=, read -r code rate; do
    if [ "$code" = "$1" ]; then echo "$rate"; exit 0; fi
done < "{PLACEHOLDER}/share/demo-rates/rates.csv"
echo "demo-rates: no such currency: $1" >&2
exit 1
"""

_RATES = "EUR,1.0\nUSD,0.5\nGBP,1.25\nSEK,0.125\n"


def packages() -> tuple[Package, ...]:
    """Make them all."""
    newer = datetime(2022, 6, 1, tzinfo=timezone.utc)
    return (_rates("1.0", _RATES), _rates("2.0", _RATES + "DKK,0.25\n", newer), *_units())


def _rates(version: str, table: str, timestamp: datetime | None = None) -> Package:
    """A program with a table: text that holds the prefix, and a second version that came later."""
    made = Package(
        name="demo-rates",
        version=version,
        files=(
            PackageFile(path="bin/demo-rates", content=_RATES_SCRIPT.encode(), mode=0o755, has_prefix=True),
            PackageFile(path="share/demo-rates/rates.csv", content=table.encode()),
        ),
        summary="A command that prints exchange rates",
    )
    return made if timestamp is None else replace(made, timestamp=timestamp)


def _units() -> tuple[Package, ...]:
    """Two packages that both bring `share/demo-units/README`, with different words."""
    return (
        Package(
            name="demo-units",
            version="1.0",
            files=(
                PackageFile(path="share/demo-units/README", content=b"Units of length, in metres.\n"),
                PackageFile(path="share/demo-units/length.csv", content=b"m,1\nkm,1000\n"),
            ),
            summary="A table of units",
        ),
        Package(
            name="demo-units-imperial",
            version="1.0",
            files=(
                PackageFile(path="share/demo-units/README", content=b"Imperial units of length, in metres.\n"),
                PackageFile(path="share/demo-units/imperial.csv", content=b"yd,0.9144\nmi,1609.344\n"),
            ),
            depends=("demo-units",),
            summary="More units, in the folder of demo-units: one file belongs to both",
        ),
    )
