"""`bench kill`: a process that writes a store is killed again and again; is all it acknowledged still there?

material   what is written, all of it made from a number, so that a reader knows how it must look
writer     the process that is killed
ledger     what it acknowledged
inspection what the store has kept of that
rounds     one kill after the other
"""

from latent_memory_plugin.bench.kill.rounds import run

__all__ = ["run"]
