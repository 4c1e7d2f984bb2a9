r"""Text → answer, and "are these two answers equal?"

`extract` looks, in this order, and takes the last one of the first kind it finds:

1. `\boxed{...}` or `\fbox{...}` with nested braces (an empty or unclosed box does not count),
2. `#### x` at the start of a line or after a sentence,
3. "the answer is x", "Answer: x" and their kin,
4. the last number of the text, with the formula around it where it stands between math delimiters.

`equal` reads both texts the same way and compares what they mean. The rules, in order of strength:

- Numbers are exact: 0.5 = 1/2 = \frac12 = .50, but 0.333 is not 1/3.
- 1,000 = 1{,}000 = 1000 = 1 000. `1,2` is a list.
- A unit, currency, base or label (`x =`) on one side only is ignored; on both sides it must agree.
- 50% equals 0.5 and equals 50, though 0.5 does not equal 50.
- `(1,2)`, `[0,1)` and their kin keep their order and their brackets; `\{1,2\}` and a bare `1,2` are sets.
- Letters are compared without case, words never as products of letters.
- Everything else is computed to hundreds of digits at a few points (see `evaluation`): equal there is equal.

What cannot be read within bounds of size and time is compared as text: a missed merge costs less than a false one.
"""

from latent_memory_plugin.answers.equality import EqualAnswers, agree, equal
from latent_memory_plugin.answers.extraction import ExtractAnswer, extract

__all__ = ["EqualAnswers", "ExtractAnswer", "agree", "equal", "extract"]
