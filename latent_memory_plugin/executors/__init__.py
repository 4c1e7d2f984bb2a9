"""Where plans run, by name: one file each."""

from latent_memory_plugin.executors.base import Executor, MakeExecutor, Run
from latent_memory_plugin.plugins import EXECUTORS

__all__ = ["EXECUTORS", "Executor", "MakeExecutor", "Run", "register"]

register = EXECUTORS.register
