"""Fuzz readers: `python -m scripts.fuzz [--seconds N] [TARGET...]`; again: `python -m scripts.fuzz TARGET FILE`.

Seeds are changed at random, byte by byte and token by token; with `--coverage` and the group `fuzz` atheris
does it, and prefers what reaches new code. What crashes a reader is written to `.cache/fuzz/`, with the command
that does it again, and belongs into `tests/unit/test_fuzzed.py` once it is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from scripts.fuzz.targets import TARGETS, Target, outcome

FOUND = Path(".cache/fuzz")
_LARGEST = 16384
# What formats are made of.
_TOKENS = (
    *(b"..", b"/", b"\0", b"\n", b"\x1b", b"\xff", b"\xed\xa0\x80", b"-1", b"9" * 400, b"1e999", b"null", b"true"),
    *(b"[]", b"{}", b'""', b"[" * 3000, b'{"a":' * 3000, b"&a ", b"*a", b"<<: ", b"!!python/name:os.system "),
    *(b".wh.", b".wh..wh..opq", b"sha256:", b"https://", b"NaN", b"0", b"\xc3\xa9", b"e\xcc\x81", b"  - "),
)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Change a seed in one to eight places."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at, size = chance.randint(0, len(data)), chance.randint(0, 16)
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + size] = chance.choice(_TOKENS)
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            other = chance.randint(0, len(data))
            data[at:at] = data[other : other + size]
        else:
            data[at:at] = chance.choice(_TOKENS)
    return bytes(data[:_LARGEST])


def by_chance(name: str, target: Target, seconds: float, start: int) -> int:
    """Fuzz one reader, and return how many inputs it took; stops at the first crash."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        chance = random.Random(f"{name} {start + count}")
        data = mutated(chance.choice(target.seeds), chance)
        try:
            outcome(target, data)
        except Exception:
            report(name, data)
            raise
        count += 1
    return count


def report(name: str, data: bytes) -> None:
    """Keep what crashed, and say how to see it again."""
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"\n{name} crashed; again by: python -m scripts.fuzz {name} {path}", file=sys.stderr)


def by_atheris(name: str, seconds: float) -> None:
    """Fuzz one reader by what it covers; atheris ends the process."""
    import atheris

    target = TARGETS[name]
    corpus = FOUND / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            outcome(target, data)
        except Exception:
            report(name, data)
            raise

    atheris.instrument_all()
    limits = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-max_len={_LARGEST}",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={FOUND}/", str(corpus)], one)
    atheris.Fuzz()


def main() -> int:
    """Fuzz, or do again what crashed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="; ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--start", type=int, default=time.time_ns() // 10**9, help="number of the first input")
    parser.add_argument("--coverage", action="store_true", help="by atheris")
    given = parser.parse_args()
    if len(given.names) == 2 and given.names[1] not in TARGETS:
        outcome(TARGETS[given.names[0]], Path(given.names[1]).read_bytes())
        return 0
    names = given.names or list(TARGETS)
    share, failed = given.seconds / len(names), []
    for name in names:
        if given.coverage and len(names) == 1:
            by_atheris(name, share)
        elif given.coverage:
            command = [sys.executable, "-m", "scripts.fuzz", name, "--coverage", "--seconds", str(share)]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
            continue
        try:
            print(f"{name}: {by_chance(name, TARGETS[name], share, given.start)} inputs", flush=True)
        except Exception:
            traceback.print_exc()
            failed.append(name)
    print(f"crashed: {', '.join(failed)}" if failed else "nothing crashed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
