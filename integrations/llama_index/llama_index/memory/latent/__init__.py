"""LlamaIndex's doors to latent memory: a memory, a memory block, the language model that reads it, and a hook.

memory, llm = LatentMemory(), LatentLLM()
await FunctionAgent(llm=llm, tools=tools).run(user_msg="...", memory=memory)
"""

from llama_index.memory.latent.base import LatentMemory
from llama_index.memory.latent.block import LatentMemoryBlock
from llama_index.memory.latent.hook import EpisodeEnds
from llama_index.memory.latent.llm import LatentLLM

__all__ = ["EpisodeEnds", "LatentLLM", "LatentMemory", "LatentMemoryBlock"]
