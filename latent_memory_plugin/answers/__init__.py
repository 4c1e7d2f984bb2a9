r"""Text → answer, and "are these two answers equal?"

`read` reads a text into a kind first (`kinds.KINDS`: number, quantity, money, time, date, range, set, expression,
choice, name, ...); `equal` compares answers of one kind, or of two kinds with a bridge (`kinds.BRIDGES`), and in doubt
they are different: a missed merge costs less than a false one. `extract` finds the answer in a completion, by what the
completion declares; `bare` takes an answer that was handed over. docs/answers.md has the tables and the limits.

- Numbers are exact: 0.5 = 1/2 = \frac12 = .50 = half, but 0.333 is not 1/3. 1,000 = 1{,}000 = 1 000; `1,2` is a list.
- Units convert (5 km = 5000 m). A unit, currency or label (`x =`) on one side only is ignored.
- 50% equals 0.5 and equals 50, though 0.5 does not equal 50.
- `(1,2)`, `[0,1)` and their kin keep their order and their brackets; `\{1,2\}` and a bare `1,2` are sets.
- Letters keep their case in expressions, units, formulas and short names; words are never products of letters.

A module for each idea, and one door for each library: `evaluation` (mpmath), `locales` (babel), `reals` (sympy),
`units` (pint), `words` (text2num, simplemma). Each is loaded where an answer needs it, and numbers and names never do.
"""

from latent_memory_plugin.answers.equality import EqualAnswers, agree, equal
from latent_memory_plugin.answers.extraction import ExtractAnswer, bare, extract
from latent_memory_plugin.answers.kinds import Read
from latent_memory_plugin.answers.reading import read

__all__ = ["EqualAnswers", "ExtractAnswer", "Read", "agree", "bare", "equal", "extract", "read"]
