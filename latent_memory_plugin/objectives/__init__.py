"""Objectives: episodes and their votes → the tensors of a candidate. One file each, by name."""

from latent_memory_plugin.objectives.base import Attempt, Lesson, Objective, Step, lessons
from latent_memory_plugin.plugins import OBJECTIVES

__all__ = ["OBJECTIVES", "Attempt", "Lesson", "Objective", "Step", "lessons", "register"]

register = OBJECTIVES.register
