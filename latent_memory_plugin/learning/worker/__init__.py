"""Learning in the background: one thread per namespace, whose queue is in the journal.

worker   the thread: takes, learns, records what breaks off, pauses, ends
work     what a memory brings to it, and what an error means
delays   when what broke off is tried again
places   one worker per namespace in a process, and the end of the process
"""

from latent_memory_plugin.learning.worker.places import worker_of
from latent_memory_plugin.learning.worker.work import Work
from latent_memory_plugin.learning.worker.worker import Worker

__all__ = ["Work", "Worker", "worker_of"]
