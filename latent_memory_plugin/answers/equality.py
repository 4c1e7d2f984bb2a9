r"""Whether two answers mean the same: collections here, single values in `scalar`, expressions in `door`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from latent_memory_plugin.answers.normal import MAX_CHARACTERS, compact, normal
from latent_memory_plugin.answers.number import parse_number
from latent_memory_plugin.answers.scalar import equal_scalars, read, split_label

EqualAnswers = Callable[[str, str], bool]
"""Whether two answers mean the same; symmetric."""

_MAX_DEPTH = 5
_MAX_COMPUTED_PAIRS = 144
_MARK = re.compile(
    r"(?P<open>[(\[{⦃⟨])|(?P<close>[)\]}⦄⟩])|(?P<cut>[,;](?:\s*(?:and|or)\b)?|\b(?:and|or)\b)|(?P<union>∪)"
)
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")


@dataclass(frozen=True)
class _Group:
    kind: str
    """The two brackets where the order counts, else `set` or `union`."""
    items: tuple["_Node", ...]


_Node = str | _Group


def equal(a: str, b: str) -> bool:
    r"""Whether two answers mean the same; the package's docstring has the rules.

    Symmetric and reflexive, but not transitive: 50% equals both 0.5 and 50. Never raises; bounded in size and
    time (a few seconds at worst, under a millisecond for numbers), safe in any thread.

    >>> equal(r"\frac{1}{2}", "0.5"), equal("1,000 dollars", r"\$1000"), equal("(1,2)", "(2,1)")
    (True, True, False)
    """
    if a == b:
        return True
    if len(a) > MAX_CHARACTERS or len(b) > MAX_CHARACTERS:
        return a.split() == b.split()
    return _equal(min(a, b), max(a, b))


def agree(a: str | None, b: str | None) -> bool:
    """Whether both are answers and equal; no answer agrees with nothing."""
    return a is not None and b is not None and equal(a, b)


@lru_cache(maxsize=8192)
def _equal(a: str, b: str) -> bool:
    a, b = normal(a), normal(b)
    if not a or not b:
        return False
    if compact(a) == compact(b):
        return True
    first, second = _read(a), _read(b)
    return _same(first, second, nested=False, compute=_leaves(first) * _leaves(second) <= _MAX_COMPUTED_PAIRS)


def _same(a: _Node, b: _Node, *, nested: bool, compute: bool) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return equal_scalars(read(a), read(b), labels=nested, compute=compute)
    if isinstance(a, str) or isinstance(b, str) or a.kind != b.kind or len(a.items) != len(b.items):
        return False
    if a.kind not in ("set", "union"):
        return all(_same(x, y, nested=True, compute=compute) for x, y in zip(a.items, b.items, strict=True))
    rest = list(b.items)
    for item in a.items:
        match = next((other for other in rest if _same(item, other, nested=True, compute=compute)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _leaves(node: _Node) -> int:
    return 1 if isinstance(node, str) else sum(map(_leaves, node.items))


@lru_cache(maxsize=8192)
def _read(text: str) -> _Node:
    if parse_number(text) is not None or len(_split(text, "cut", thousands=True)) > 1:
        return _unlabelled(_node(text, 0))
    label, rest = split_label(text)
    node = _node(rest, 0)
    return text if isinstance(node, str) and label else node


def _unlabelled(node: _Node) -> _Node:
    """`x=1, x=2` and `x = 1, 2` as `1, 2`; the labels of `x=1, y=2` stay."""
    if isinstance(node, str) or node.kind != "set" or not all(isinstance(item, str) for item in node.items):
        return node
    labels, values = zip(*(split_label(str(item)) for item in node.items), strict=True)
    if labels[0] and (len(set(labels)) == 1 or not any(labels[1:])):
        return _Group("set", tuple(values))
    return node


def _node(text: str, depth: int) -> _Node:
    text = text.strip()
    if depth > _MAX_DEPTH or text == "∅":
        return _Group("set", ()) if text == "∅" else text
    if _is_enclosed(text):
        return _enclosed(text, depth)
    for cut, kind in (("union", "union"), ("cut", "set")):
        if len(pieces := _split(text, cut, thousands=True)) > 1:
            return _Group(kind, tuple(_node(piece, depth + 1) for piece in pieces))
    if text.count("±") == 1:
        return _Group("set", tuple(text.replace("±", sign).removeprefix("+").strip() for sign in "+-"))
    return text


def _enclosed(text: str, depth: int) -> _Node:
    brackets, inner = text[0] + text[-1], text[1:-1].strip()
    pieces = _split(inner, "cut", thousands=False)
    unordered = brackets in ("⦃⦄", "{}")
    if not inner:
        return _Group("set", ()) if unordered else text
    if len(pieces) == 1 and (unordered or brackets == "()"):
        return _node(inner, depth + 1)
    return _Group("set" if unordered else brackets, tuple(_node(piece, depth + 1) for piece in pieces))


def _is_enclosed(text: str) -> bool:
    """Whether the bracket that opens the text closes at its end; `[0,1)` does."""
    depth = 0
    for match in _MARK.finditer(text) if text[:1] in tuple("([{⦃⟨") else ():
        depth += (match.lastgroup == "open") - (match.lastgroup == "close")
        if depth == 0:
            return match.end() == len(text)
    return False


def _split(text: str, mark: str, *, thousands: bool) -> list[str]:
    """The pieces between marks outside all brackets; `thousands` True keeps 1,000 whole."""
    pieces: list[str] = []
    depth = start = 0
    for match in _MARK.finditer(text):
        depth += (match.lastgroup == "open") - (match.lastgroup == "close")
        if depth or match.lastgroup != mark or (thousands and _THOUSANDS.match(text, match.start())):
            continue
        pieces.append(text[start : match.start()])
        start = match.end()
    return [*pieces, text[start:]]
