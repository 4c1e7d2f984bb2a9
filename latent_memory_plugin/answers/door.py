r"""The only door to math-verify and SymPy: are two expressions, relations or matrices the same?

Guards, in order: only known characters, commands and nesting depths reach the parser; only trees whose numbers
stay within `evaluation.MAX_BITS` are evaluated; both happen in a thread of their own that is ended after
`CPU_SECONDS`. No signals, so any thread may call; one call works at a time.
"""

import ctypes
import re
import time
from fractions import Fraction
from functools import lru_cache
from threading import Lock, Thread

from latent_memory_plugin.answers.evaluation import Meaning, Sample, evaluate, load_libraries

MAX_CHARACTERS = 200
"""Longer expressions are not computed."""
CPU_SECONDS = 4.0
"""Computations that take more of the process's time are ended and count as unreadable. Not wall time, so that
answers do not depend on what else the machine does."""
SECONDS = 60.0
"""Wall time after which they are ended in any case."""
THREAD_NAME = "latent-memory-answers"
"""Name of the thread that computes."""
RELATIONS = "=<>≤≥≠"
"""One of these makes a text a relation."""

_MAX_DEPTH = 6
_MAX_BARS = 4
_MARGIN_BITS = 64
# No capital Greek letters: the parser reads all letters without case.
_COMMANDS = re.compile(
    "frac|sqrt|pi|cdot|times|div|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|ln|log|exp|begin|end|"
    "alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|phi|rho|sigma|tau|omega|psi|xi|eta|zeta|kappa|"
    "lfloor|rfloor|lceil|rceil"
)
_FUNCTIONS = re.compile(r"(?<![A-Za-z])(?:sqrt|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![A-Za-z])")
_ALLOWED = re.compile(rf"[0-9A-Za-z+\-*/^_()\[\]{{}}|.! \\&{RELATIONS}]+")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_MATRIX = re.compile(r"\\(?:begin|end)\s*\{\s*[pb]?matrix\s*\}")
# Words, long literals, what the parser misreads (2 3 as a mixed number, 52_8 as 52) and writers mean two ways (1/2x).
_MISLEADING = re.compile(
    r"[A-Za-z]{3}|^[^A-Za-z]*[A-Za-z]{2}[^A-Za-z]*$|[0-9]{100}|"
    r"(?<![_0-9])[0-9]+ +[0-9]|(?<![A-Za-z·])_|/ *[0-9]+ *[A-Za-z(·]"
)
_MIRRORED = {">": "<", "≥": "≤"}
_lock = Lock()


def equal(a: str, b: str) -> bool:
    """Whether two texts in normal spelling mean the same. False where either cannot be read. Never raises."""
    if _is_relation(a) != _is_relation(b) or not (readable(a) and readable(b)):
        return False
    first, second = _meaning(a), _meaning(b)
    if first is None or second is None or (first.relation, first.shape) != (second.relation, second.shape):
        return False
    if first.relation:
        return _proportional(first.samples[0], second.samples[0], positive=first.relation in "<≤")
    return all(map(_close, first.samples, second.samples))


def readable(text: str) -> bool:
    """Whether a text may go to the parser: short, shallow, of known commands, and no words."""
    bare = _COMMAND.sub("·", _FUNCTIONS.sub("·", _MATRIX.sub("&", text)))
    return (
        len(text) <= MAX_CHARACTERS
        and _ALLOWED.fullmatch(text) is not None
        and all(map(_COMMANDS.fullmatch, _COMMAND.findall(text)))
        and _MISLEADING.search(bare) is None
        and _depth(text) <= _MAX_DEPTH
        and text.count("|") <= _MAX_BARS
        and sum(map(text.count, RELATIONS)) <= 1
    )


def _is_relation(text: str) -> bool:
    return any(sign in text for sign in RELATIONS)


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


@lru_cache(maxsize=2048)
def _meaning(text: str) -> Meaning | None:
    match = re.search(rf"[{RELATIONS}]", text)
    if match is None:
        return _in_time("", text)
    left, right = text[: match.start()], text[match.end() :]
    if match[0] in _MIRRORED:
        left, right = right, left
    return _in_time(_MIRRORED.get(match[0], match[0]), left, right)


def _in_time(relation: str, *sides: str) -> Meaning | None:
    """What `evaluate` makes of it, or None where it fails or takes too long."""
    with _lock:
        load_libraries()
        computation = _Computation(relation, sides)
        computation.start()
        try:
            computation.wait()
        finally:
            computation.end()
    return computation.result


class _Computation(Thread):
    """One evaluation in a thread that can be ended from outside."""

    def __init__(self, relation: str, sides: tuple[str, ...]) -> None:
        super().__init__(name=THREAD_NAME, daemon=True)
        self.result: Meaning | None = None
        self._arguments = (relation, *sides)
        self._gate, self._done = Lock(), False

    def run(self) -> None:
        try:
            self.result = evaluate(*self._arguments)
        except (Exception, SystemExit):  # noqa: BLE001 - parser and SymPy raise anything on odd input; None records it
            self.result = None
        with self._gate:
            self._done = True

    def wait(self) -> None:
        cpu_end, end = time.process_time() + CPU_SECONDS, time.monotonic() + SECONDS
        while self.is_alive() and time.process_time() < cpu_end and time.monotonic() < end:
            self.join(0.05)

    def end(self) -> None:
        for _ in range(20):
            # Behind the gate the thread cannot end meanwhile, so its number cannot have passed to another.
            with self._gate:
                if self._done or self.ident is None:
                    break
                # CPython's way to end a thread from outside, between two bytecodes.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(SystemExit))
            self.join(0.1)


def _close(a: Sample, b: Sample) -> bool:
    """Whether two samples agree: distinct rationals of these sizes differ by more than the tolerance."""
    return _same(a.values, b.values, a.bits + b.bits)


def _proportional(a: Sample, b: Sample, *, positive: bool) -> bool:
    """Whether one difference of sides is a constant multiple of the other, as in x = 2y and 2x - 4y = 0."""
    (p, _), (q, _) = a.values[0], b.values[0]
    if not p or not q or (positive and (p < 0) != (q < 0)):
        return False
    scaled_a = tuple((real * q, imaginary * q) for real, imaginary in a.values)
    scaled_b = tuple((real * p, imaginary * p) for real, imaginary in b.values)
    return _same(scaled_a, scaled_b, 2 * (a.bits + b.bits))


def _same(a: tuple[tuple[Fraction, Fraction], ...], b: tuple[tuple[Fraction, Fraction], ...], bits: int) -> bool:
    tolerance = Fraction(1, 2 ** (bits + _MARGIN_BITS))
    return all(
        abs(left[0] - right[0]) < tolerance and abs(left[1] - right[1]) < tolerance
        for left, right in zip(a, b, strict=True)
    )
