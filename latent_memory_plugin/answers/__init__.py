"""x"""

from latent_memory_plugin.answers.equality import EqualAnswers, agree, equal
from latent_memory_plugin.answers.extraction import ExtractAnswer, bare, extract
from latent_memory_plugin.answers.kinds import Read
from latent_memory_plugin.answers.reading import read

__all__ = ["EqualAnswers", "ExtractAnswer", "Read", "agree", "bare", "equal", "extract", "read"]
