"""Lines and columns: sizes, tables, facts and notes, of which all other texts are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """Write a number of bytes in three digits: `512 B`, `4.1 MB`."""
    amount = float(count)
    for unit in _UNITS:
        if amount < 999.5 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.3g} {unit}" if amount < 99.5 else f"{amount:.0f} {unit}"


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Lay out rows in columns as wide as they need, the headers above."""
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Lay out names and values, one a line; pairs without a value are left out."""
    present = [(name, str(value)) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in present), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in present)


def notes(texts: Sequence[str]) -> str:
    """List notes under a blank line, if there are any."""
    return "".join(["\n", *(f"\nnote: {text}" for text in texts)]) if texts else ""
