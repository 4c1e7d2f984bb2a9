"""What the records have in common: ids, hashes and ranges."""

import hashlib
import uuid
from typing import Annotated

from pydantic import Field

from latent_memory_plugin.frozen import Share

__all__ = ["Count", "Share", "new_id", "of_look", "question_hash"]

Count = Annotated[int, Field(ge=0)]


def of_look(confidence: float, number: int) -> float:
    """The confidence that the `number`-th look at the same question asks for, so that looking often does not find by
    chance: it may err with a `number`-th of the first look's chance."""
    return 1 - (1 - confidence) / number


def new_id() -> str:
    """A fresh identifier: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def question_hash(question: str) -> str:
    """SHA-256 of a question without surrounding white space, 64 hexadecimal digits."""
    return hashlib.sha256(question.strip().encode()).hexdigest()
