"""How much of the time of an action is spent inside the model: forward passes, and the backward passes through it."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import torch

from latent_memory_plugin.bench.speed.subject import Subject


class Clock:
    """Seconds between entering and leaving, nested ones once."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds = 0.0
        self._wait, self._depth, self._began = wait, 0, 0.0

    def enter(self, *_: Any) -> None:
        """Starts, where it does not run yet."""
        if not self._depth:
            self._wait()
            self._began = time.perf_counter()
        self._depth += 1

    def leave(self, *_: Any) -> None:
        """Stops, where this is the outermost."""
        self._depth -= 1
        if not self._depth:
            self._wait()
            self.seconds += time.perf_counter() - self._began


def model_share(subject: Subject, action: Callable[[], Any]) -> float:
    """Share of an action's wall time inside the model, 0 to 1."""
    with _watched(subject) as clock:
        began = time.perf_counter()
        action()
        subject.wait()
        return clock.seconds / (time.perf_counter() - began)


@contextmanager
def _watched(subject: Subject) -> Generator[Clock]:
    clock = Clock(subject.wait)
    plain = cast(Any, torch.Tensor).backward

    def backward(*given: Any, **named: Any) -> None:
        clock.enter()
        plain(*given, **named)
        clock.leave()

    hooks: list[Any] = []
    for module in {id(one): one for one in (subject.module, subject.module.base_model)}.values():
        hooks += [module.register_forward_pre_hook(clock.enter), module.register_forward_hook(clock.leave)]
    torch.Tensor.backward = backward  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        torch.Tensor.backward = plain  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
