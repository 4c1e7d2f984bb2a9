"""What callers hand over → records: checked whole before anything is done with a part of it."""

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from latent_memory_plugin.config import Config
from latent_memory_plugin.errors import ConfigError, InputError
from latent_memory_plugin.records import Answer, Problem, Rollout

When = Literal["now", "background", "manual"]

LARGEST_SEED = 2**31


def checked_config(config: Config | None) -> Config:
    """The settings, or the default ones. Raises ConfigError."""
    if config is not None and not isinstance(config, Config):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"config={config!r} is not a Config; pass Config(...) or Config.preset('paper').")
    return Config() if config is None else config


def check_namespace(namespace: str) -> None:
    """Raises InputError where a namespace is no text; what names the store allows, it says itself."""
    if not isinstance(namespace, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"namespace={namespace!r} is not text; pass a name such as 'default'.")


def check_when(when: str) -> None:
    """Raises InputError where `when` names no time to learn."""
    if when not in get_args(When):
        raise InputError(f"when={when!r} is unknown; choose one of {', '.join(map(repr, get_args(When)))}.")


def check_verdict(correct: bool) -> None:
    """Raises InputError where feedback is neither True nor False."""
    if not isinstance(correct, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"correct={correct!r} is neither True nor False; pass one of them.")


def answer_id(answer: Answer | str) -> str:
    """The id of an answer, or the one a caller kept of it. Raises InputError."""
    if isinstance(answer, Answer):
        return answer.id
    if not isinstance(answer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"answer={answer!r:.60} is neither an Answer nor the id of one; pass what `ask` returned.")
    return answer


def check_count(n: int) -> None:
    """Raises InputError where `n` is no number of completions."""
    if not isinstance(n, int) or n < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"n={n!r} completions cannot be sampled; ask for a whole number from 1.")


def chosen_seed(seed: int | None) -> int:
    """The seed a caller named, else a fresh one. Raises InputError."""
    if seed is not None and not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"seed={seed!r} is not a whole number; pass one, or None for a fresh one.")
    return secrets.randbelow(LARGEST_SEED) if seed is None else seed


def problems_of(question: str | Sequence[str]) -> list[Problem]:
    """One question, or several, as problems. Raises InputError."""
    if isinstance(question, str):
        return [Problem(question=question)]
    if not isinstance(question, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{question!r:.60} is neither a question nor a list of questions; pass text.")
    for one in question:
        if isinstance(one, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"{one!r:.60} is a message and not a question; pass its text, or the whole chat to "
                "ChatModel(memory).reply(messages)."
            )
        if not isinstance(one, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{one!r:.60} is not a question; pass text.")
    return [Problem(question=one) for one in question]


def checked_days(days: float) -> float:
    """Raises `InputError` where it is no number of days."""
    if not (math.isfinite(days) and days >= 0):
        raise InputError(f"older_than_days={days!r} is no number of days; pass 0 or more.")
    return days


def rollouts_of(answer: str | None, rollouts: Sequence[str | Rollout] | None) -> tuple[Rollout, ...]:
    """The rollouts an agent hands over; its bare answer votes but is not to be imitated. Raises InputError."""
    if isinstance(rollouts, str):
        raise InputError(f"rollouts={rollouts!r:.60} is one string; pass a list of completions.")
    given = tuple(one if isinstance(one, Rollout) else Rollout(text=one) for one in rollouts or ())
    if answer is None:
        return given
    from latent_memory_plugin.answers import bare

    if not isinstance(answer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"answer={answer!r:.60} is not text; pass the answer as a string.")
    return (*given, Rollout(text=answer, answer=bare(answer), finished=False))


def episodes_of(
    questions: Sequence[str], rollouts: Sequence[Sequence[str | Rollout]]
) -> tuple[list[Problem], list[tuple[Rollout, ...]]]:
    """Several episodes that an agent hands over at once. Raises InputError."""
    if isinstance(questions, str) or len(questions) != len(rollouts):
        raise InputError(
            f"{questions!r:.60} and {len(rollouts)} lists of rollouts do not belong together; pass a list of questions "
            "and, for each, a list of completions."
        )
    return problems_of(questions), [rollouts_of(None, some) for some in rollouts]
