"""YAML of others, read without trust: nothing comes of it but text, lists and tables, of a bounded size.

Numbers and dates stay the text that they were written as, so that a version `3.10` is not `3.1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

#: Larger than any file that we know of: an MLmodel with a signature of thousands of columns has 500 KB.
MAX_SIZE = 4 << 20
_MAX_NODES = 400_000
_MAX_DEPTH = 100
_KEPT_SCALARS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "merge", "str", "seq", "map", "int", "float")
)

# libyaml is ten times as fast, and reads the same.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TextLoader(_Base):  # type: ignore[misc]  # its base is chosen at run time
    """A safe loader that leaves numbers and times as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way to say it
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT_SCALARS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def load(data: bytes) -> object:
    """Read one YAML document.

    Raises:
        ValueError: It cannot be read, is too large, repeats itself without end, or would construct an object;
            the text says which, in one line.
    """
    if len(data) > MAX_SIZE:
        raise ValueError(f"it has {len(data):,} bytes, and {MAX_SIZE:,} are the most that is read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text at byte {error.start}") from None
    try:
        loader = _TextLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {}, 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def dump(data: Mapping[str, object]) -> str:
    """Write YAML in the order of the data."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10**6)
    return text


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return how many nodes there are once every alias stands for all of what it names."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise ValueError(f"it contains itself, at line {node.start_mark.line + 1}")
        return known[id(node)]
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if node.tag not in _PLAIN_TAGS:
        name = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise ValueError(f"it asks for an object, `{name}`, at line {node.start_mark.line + 1}")
    known[id(node)] = 0
    total = 1 + sum(_count(child, known, depth + 1) for child in _children(node))
    if total > _MAX_NODES:
        raise ValueError("its aliases stand for too much")
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
    if problem.startswith("but "):
        problem = f"{getattr(error, 'context', None)}, {problem}"
    return f"{problem}, at line {mark.line + 1}" if mark is not None else str(problem)
