r"""Expressions: normal text → Tree, by precedence climbing, in time in proportion to the text.

Letters keep their case, neighbours are multiplied, `sin 2x` takes its product, `-2^2` is -4. What writers mean two ways
is refused: 1/2x, a/bc, 2^3^2, 5!!, \sin x(x+1), 2 3. Words are refused, too.

math-verify's parser is not used: it drops primes (f'(x) is f(x)), reads 2(3) as 5, 1/2 bh as 1/(2bh), 2^3^2 as 64 and
5!! as (5!)!, rounds decimals, takes 1 to 100 ms each, and can only be bounded by ending its thread.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from latent_memory_plugin.answers.patterns import lazy, one_line

MAX_CHARACTERS = 200
"""Longer expressions are not read."""
MAX_DEPTH = 12
"""Brackets within brackets."""
TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
FUNCTIONS = {*TRIGONOMETRIC, *(f"arc{name}" for name in TRIGONOMETRIC), "ln", "log", "lg", "exp", "abs"}
MANY = {"max", "min", "gcd", "lcm"}
"""Functions of several arguments."""

_TOKEN = lazy(r"(\s*)([0-9]+(?:\.[0-9]*)?|\.[0-9]+|\\[A-Za-z]+|[A-Za-z]+|\*\*|\S)")
_GREEK = lazy(
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|phi|"
    r"varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|ell|hbar)"
)
_CLOSING = {"(": ")", "[": "]", "{": "}", "⦃": "⦄"}
_STOPS = one_line(r") ] } ⦄ + - , = < > ≤ ≥ ≠ ! ^ _ * / ' ° ∞ & ; : ± ** \cdot \times \div \choose \rfloor \rceil")
"""What begins no factor."""
_MAX_WORD = 3


class Unreadable(ValueError):
    """The text is no expression, or one that could be meant in two ways."""


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression."""

    name: str
    """`number`, `symbol`, an operation (`+ * ^ / root ! log sum product integral`) or a function."""
    parts: tuple["Tree", ...] = ()
    """What it is applied to."""
    value: Fraction | str = ""
    """Of a number its value, of a symbol, sum, product or integral the variable's name."""


def number(value: Fraction | int) -> Tree:
    """A number as a tree."""
    return Tree("number", (), Fraction(value))


PI = Tree("symbol", (), r"\pi")
MINUS_ONE = number(-1)


def product(*parts: Tree) -> Tree:
    """A product as a tree."""
    return parts[0] if len(parts) == 1 else Tree("*", parts)


def difference(left: Tree, right: Tree) -> Tree:
    """left - right."""
    return Tree("+", (left, product(MINUS_ONE, right)))


def symbols(tree: Tree) -> frozenset[str]:
    """The names of an expression's free variables; π, e and i are none."""
    if tree.name == "symbol":
        return frozenset() if tree.value in (r"\pi", "e", "i") else frozenset({str(tree.value)})
    bound = {tree.value} if tree.name in ("sum", "product", "integral") else set[str]()
    return frozenset[str]().union(*map(symbols, tree.parts)) - bound


@lru_cache(maxsize=4096)
def parse(text: str) -> Tree | None:
    """The expression a normal text is, None where it is none."""
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        return _Parser(text).whole()
    except (Unreadable, IndexError):
        return None


class _Parser:
    """One text on its way to a tree. The tokens end with an empty one, which is part of nothing."""

    def __init__(self, text: str) -> None:
        pieces = [(space != "", token) for space, token in _TOKEN.findall(text)]
        self._tokens: list[tuple[bool, str]] = []
        for spaced, token in pieces:
            letters = [token]
            if token.isalpha() and not self._is_name(token):
                if len(token) > _MAX_WORD or not token.isascii():
                    raise Unreadable(f"{token!r} is a word")
                letters = list(token)
            self._tokens += [(spaced and not at, letter) for at, letter in enumerate(letters)]
        self._tokens.append((False, ""))
        self._at = self._depth = self._bars = 0

    def whole(self) -> Tree:
        tree = self._sum()
        if self._next:
            raise Unreadable(f"{self._next!r} follows the expression")
        return tree

    @property
    def _next(self) -> str:
        return self._tokens[self._at][1]

    @property
    def _spaced(self) -> bool:
        return self._tokens[self._at][0]

    @staticmethod
    def _is_name(token: str) -> bool:
        return token.lstrip("\\") in FUNCTIONS | MANY | {"sqrt", "pi"}

    def _take(self, wanted: str = "") -> str:
        token = self._next
        if wanted and token != wanted:
            raise Unreadable(f"{wanted!r} is missing before {token!r}")
        self._at += 1
        return token

    def _sum(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("brackets within brackets without end")
        parts = [self._signed_term()]
        while self._next and self._next in "+-":
            parts.append(self._signed_term())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Tree("+", tuple(parts))

    def _signed_term(self) -> Tree:
        sign = self._take() if self._next and self._next in "+-" else "+"
        term = self._term()
        return term if sign == "+" else product(MINUS_ONE, term)

    def _term(self) -> Tree:
        parts = [self._power()]
        while True:
            if self._next in ("*", r"\cdot", r"\times"):
                self._take()
                parts.append(self._signed_power())
            elif self._next in ("/", r"\div"):
                self._take()
                parts.append(Tree("/", (self._denominator(),)))
            elif self._starts():
                parts.append(self._neighbour())
            else:
                return product(*parts)

    def _neighbour(self) -> Tree:
        """A factor without a sign before it. A number may stand behind a bracket alone: 2 3 is not 6."""
        if self._next[0].isdigit() and self._tokens[self._at - 1][1] not in (")", "}"):
            raise Unreadable("a number follows a factor")
        mixed = self._tokens[self._at - 1][1].isdigit() and self._next == r"\frac"
        factor = self._power()
        if mixed and all(isinstance(part.value or part.parts[0].value, Fraction) for part in factor.parts):
            top, under = factor.parts[0].value, factor.parts[1].parts[0].value
            if isinstance(top, Fraction) and isinstance(under, Fraction) and top < under:
                raise Unreadable("a mixed number within an expression")
        return factor

    def _signed_power(self) -> Tree:
        if self._next == "-":
            self._take()
            return product(MINUS_ONE, self._power())
        return self._power()

    def _denominator(self) -> Tree:
        bare = self._next not in ("(", "{", "[", r"\frac", r"\sqrt")
        tree = self._signed_power()
        follows = self._starts()
        if bare and follows and not (tree.name == "number" and (self._spaced or self._next == "(")):
            raise Unreadable("what belongs to the denominator is open")
        return tree

    def _starts(self) -> bool:
        """Whether the next token begins a factor."""
        token = self._next
        return bool(token) and token not in _STOPS and not (token == "|" and self._bars)

    def _power(self) -> Tree:
        tree = self._atom()
        while self._next in ("!", "°", "'"):
            if self._take() == "!":
                tree = Tree("!", (tree,))
                if self._next == "!":
                    raise Unreadable("two factorials")
            elif self._tokens[self._at - 1][1] == "°":
                tree = product(tree, PI, Tree("/", (number(180),)))
            elif tree.name == "symbol":
                tree = Tree("symbol", (), f"{tree.value}'")
            else:
                raise Unreadable("a prime behind no name")
        if self._next in ("^", "**"):
            self._take()
            tree = Tree("^", (tree, self._exponent()))
            if self._next in ("^", "**"):
                raise Unreadable("a power of a power")
        return tree

    def _exponent(self) -> Tree:
        if self._next in ("{", "("):
            return self._group()
        sign = self._take() if self._next and self._next in "+-" else ""
        letter = self._next.isalpha()
        tree = self._atom()
        if letter and self._next.isalpha() and not self._spaced:
            raise Unreadable("where the exponent ends is open")
        return product(MINUS_ONE, tree) if sign == "-" else tree

    def _group(self) -> Tree:
        closing = _CLOSING[self._take()]
        bars, self._bars = self._bars, 0
        tree = self._sum()
        if self._next == r"\choose":
            self._take()
            tree = Tree("binom", (tree, self._sum()))
        self._take(closing)
        self._bars = bars
        return tree

    def _argument(self) -> Tree:
        r"""What follows a command: a group, one digit, or one letter, as in \frac12."""
        if self._next == "{":
            return self._group()
        if self._next.isdigit():
            digit, rest = self._next[0], self._next[1:]
            self._tokens[self._at : self._at + 1] = [(False, one) for one in (digit, rest) if one]
            self._take()
            return number(int(digit))
        return self._atom()

    def _atom(self) -> Tree:
        token = self._next
        if token[:1].isdigit() or (token[:1] == "." and len(token) > 1):
            return number(Fraction(self._take().rstrip(".")))
        if token in ("(", "[", "{"):
            return self._group()
        if token == "|":
            return self._bar()
        if token in (r"\lfloor", r"\lceil"):
            self._take()
            tree = Tree(token[1:], (self._sum(),))
            self._take(token.replace("l", "r", 1))
            return tree
        if self._is_name(token):
            return self._function(self._take().lstrip("\\"))
        if token in (r"\frac", r"\binom"):
            self._take()
            top, bottom = self._argument(), self._argument()
            return Tree("binom", (top, bottom)) if token == r"\binom" else product(top, Tree("/", (bottom,)))
        if token in (r"\sum", r"\prod", r"\int"):
            return self._integral() if self._take() == r"\int" else self._series(token)
        return self._symbol()

    def _bar(self) -> Tree:
        self._take("|")
        self._bars += 1
        tree = Tree("abs", (self._sum(),))
        self._bars -= 1
        self._take("|")
        return tree

    def _symbol(self) -> Tree:
        token = self._take()
        if not (len(token) == 1 and token.isalpha()) and not _GREEK.fullmatch(token):
            raise Unreadable(f"{token!r} is not known here")
        if token in "fgh" and self._next in ("(", "'"):
            raise Unreadable("a function that is not known")
        if self._next != "_":
            return Tree("symbol", (), token)
        self._take()
        return Tree("symbol", (), f"{token}_{self._index()}")

    def _index(self) -> str:
        if self._take() != "{":
            return self._tokens[self._at - 1][1]
        inner = ""
        while (token := self._take()) != "}":
            inner += token
        return inner

    def _function(self, name: str) -> Tree:
        if name == "pi":
            return PI
        if name == "sqrt":
            return self._root()
        base = number(10) if name in ("log", "lg") else None
        if self._next == "_" and base is not None:
            self._take()
            base = self._argument()
        power = None
        if self._next == "^":
            self._take()
            power = self._exponent()
        arguments = self._arguments(name in MANY)
        if power is not None and power.name == "*" and power.parts == (MINUS_ONE, number(1)):
            name, power = (f"arc{name}" if name in TRIGONOMETRIC else ""), None
        if not name or (name not in MANY and len(arguments) != 1):
            raise Unreadable("an inverse or arguments that are not known")
        tree = self._applied(name, arguments, base)
        return tree if power is None else Tree("^", (tree, power))

    @staticmethod
    def _applied(name: str, arguments: tuple[Tree, ...], base: Tree | None) -> Tree:
        if base is not None:
            return Tree("log", (*arguments, base))
        if name == "ln":
            return Tree("log", arguments)
        return Tree("^", (Tree("symbol", (), "e"), *arguments)) if name == "exp" else Tree(name, arguments)

    def _arguments(self, several: bool) -> tuple[Tree, ...]:
        r"""What a function is applied to: a bracket, or the product up to the next function or sign."""
        if self._next in ("(", "{"):
            opening = self._take()
            found = [self._sum()]
            while (token := self._take()) == "," and several:
                found.append(self._sum())
            if token != _CLOSING[opening]:
                raise Unreadable(f"{token!r} in place of a closing bracket")
            return tuple(found)
        found = [self._power()]
        while self._starts() and not self._is_name(self._next):
            if self._next == "(":
                raise Unreadable("where the argument ends is open")
            found.append(self._neighbour())
        return (product(*found),)

    def _root(self) -> Tree:
        degree = number(2)
        if self._next == "[":
            degree = self._group()
        if self._next.isdigit() and len(self._next) > 1:
            raise Unreadable("how far the root reaches is open")
        inner = self._group() if self._next == "(" else self._argument()
        # Of a variable it is the principal one, as x^{1/3} is; of -8 it is -2.
        return Tree("^", (inner, Tree("/", (degree,)))) if symbols(inner) else Tree("root", (inner, degree))

    def _series(self, sign: str) -> Tree:
        self._take("_")
        self._take("{")
        variable = self._take()
        self._take("=")
        first = self._sum()
        self._take("}")
        self._take("^")
        last = self._exponent()
        return Tree("sum" if sign == r"\sum" else "product", (first, last, self._term()), variable)

    def _integral(self) -> Tree:
        self._take("_")
        low = self._argument()
        self._take("^")
        high = self._argument()
        *rest, (_, d), (_, variable), end = self._tokens[self._at :]
        if d != "d" or not variable.isalpha():
            raise Unreadable("an integral ends with dx")
        self._tokens[self._at :] = [*rest, end]
        return Tree("integral", (low, high, self._sum()), variable)
