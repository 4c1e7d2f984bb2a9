"""The walk along the stream: every problem is answered before anything is learnt from it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from latent_memory_plugin.answers import agree
from latent_memory_plugin.bench.online.common import Advance
from latent_memory_plugin.bench.online.method import Given, Method
from latent_memory_plugin.bench.online.stream import Asked


@dataclass(frozen=True)
class Walked:
    """What a method said along the stream."""

    given: list[list[Given]]
    """The answers to each problem, in the order of the stream."""
    became: list[str]
    """What became of each problem when it was learnt from."""
    seconds: float
    """Wall time of answering; that of learning is the method's cost."""


def walk(method: Method, questions: Sequence[str], advance: Advance) -> Walked:
    """Answers and learns, a few problems at a time."""
    became: list[str] = []
    began = time.monotonic()
    method.study()
    learning = time.monotonic() - began
    answering = 0.0
    for start in range(0, len(questions), method.problems_at_once):
        some = questions[start : start + method.problems_at_once]
        asked = time.monotonic()
        method.ask(some)
        answered = time.monotonic()
        became += [method.learn(question) for question in some]
        answering, learning = answering + answered - asked, learning + time.monotonic() - answered
        advance(len(some))
    method.cost.seconds += learning
    known, asked = method.cost.seconds, time.monotonic()
    given = method.collect()
    answering += time.monotonic() - asked - (method.cost.seconds - known)
    return Walked(given, became, answering)


def right(given: Sequence[Given], asked: Asked) -> list[bool]:
    """Which answers are right. Scoring is done here, after the walk, and nowhere before."""
    return [agree(one.answer, asked.answer) for one in given]
