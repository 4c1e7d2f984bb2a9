r"""One spelling for the many spellings of LaTeX, Markdown and Unicode.

`normal` keeps the meaning and writes structure as single characters, so that later readers need no LaTeX:
set braces ⦃ ⦄, angle brackets ⟨ ⟩, and ∪ ∖ ∈ ± ≈ ≤ ≥ ≠ ∞ ∅ ° % ＄ (currency) →. Mathematics inside an expression
(`\frac`, `\sqrt`, `\pi`, ...) stays LaTeX.
"""

import re
import unicodedata

from latent_memory_plugin.answers.patterns import lazy

MAX_CHARACTERS = 512
"""Longer answers are compared as text."""

DASHES = "−–—‐‑﹣－⁻₋"
"""Characters that stand for a minus."""
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys(DASHES, "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\u3000\u2002\u2003", " "),
        **dict.fromkeys("’‘ʼ´`′＇", "'"),
        **dict.fromkeys("“”„«»″＂", '"'),
        **dict.fromkeys("\ufeff\u200b\u200e\u200f\u2060", ""),
        **dict.fromkeys("·⋅∙", r"\cdot "),
        **dict.fromkeys("∕⁄", "/"),
        **dict.fromkeys("≈≃≅∼", "≈"),
        **{"×": r"\times ", "÷": r"\div ", "º": "°", "。": ".", "、": ",", "∣": "|", "∶": ":", "٫": ".", "٬": ","},
        **{"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}"},
        **{"⟶": "→", "⇒": "→", "∖": "∖", "…": "...", "∑": r"\sum", "∏": r"\prod", "∫": r"\int", "⌊": r"\lfloor "},
        **{"⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∠": r"\angle ", "△": r"\triangle "},
        **{"＄": "$", "，": ",", "∘": "°"},
    }
)
_COMMANDS = {
    r"\frac": "dfrac tfrac cfrac",
    r"\binom": "dbinom tbinom",
    r"\text": "mathrm textbf textit textrm textnormal textsf texttt mbox emph underline ce",
    r"\letter": "mathbf mathit boldsymbol bm vec",
    "": "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle boxed fbox limits nolimits middle",
    " ": "quad qquad space thinspace enspace",
    **{"|": "mid vert lvert rvert", "*": "ast", "<": "lt", ">": "gt", "≤": "le leq leqslant", "≥": "ge geq geqslant"},
    **{"≠": "ne neq", "≈": "approx sim simeq", "±": "pm", "∈": "in", "∪": "cup", "∅": "varnothing emptyset"},
    **{"∞": "infty", "→": "to rightarrow implies Rightarrow longrightarrow", "∖": "setminus backslash", ":": "colon"},
    **{"⦃": "lbrace", "⦄": "rbrace", "⟨": "langle", "⟩": "rangle", "[": "lbrack", "]": "rbrack"},
    **{"°": "degree circ", "%": "percent", "＄": "dollar", "€": "euro", "£": "pounds", "¥": "yen", "\\\\": "cr"},
    **{"...": "ldots dots cdots dotsc"},
}
_ESCAPES = (
    {sign: sign for sign in "%#&_.-|"} | dict.fromkeys(",;: ()[]>", " ") | {"{": "⦃", "}": "⦄", "$": "＄", "!": ""}
)
_REPLACEMENTS = _ESCAPES | {name: meaning for meaning, names in _COMMANDS.items() for name in names.split()}

_PLAIN = lazy(r"[A-Za-z0-9.,:/+()-]*(?: [A-Za-z0-9.,:/+()-]+)*")
_SUPERSCRIPT = lazy("[²³¹⁰ⁱ⁴-⁺⁻-ⁿ]+")
_SUBSCRIPT = lazy("[₀-₎ₐ-ₜ]+")
_VULGAR = lazy("[¼-¾⅐-⅞]")
_GREEK = lazy(r"(?<![\u0370-\u03ff\u1f00-\u1fff])[\u0391-\u03a9\u03b1-\u03c9](?![\u0370-\u03ff\u1f00-\u1fff])")
_THOUSANDS = lazy(r"(?<=[0-9])(?:\{,\}(?:\\!)?|\\text\{,\}|,\\!|\\[,;: ])\s*(?=(?:[0-9]{2},)*[0-9]{3}(?![0-9]))")
_BOX = lazy(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")
_DEGREE = lazy(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\}|°|\{°\})")
_COMMAND = lazy(r"\\(\\|[A-Za-z]+|[^A-Za-z])")
_ANGLES = lazy(r"^\s*<([^<>]*,[^<>]*)>\s*$")
_DOLLARS = lazy(r"\$([^$]*)\$(?![0-9])")
_LETTER = lazy(r"\\(?:text\s*\{\s*([eid])|letter\s*\{\s*([A-Za-z])|hat\s*\{\s*\\?([ijk])(?:math)?)\s*\}")
_NAMED = lazy(r"\\(?:operatorname\*?|mathrm|text)\s*\{\s*(lcm|gcd|max|min|sin|cos|tan|log|ln|exp)\s*\}")
_JOINED = lazy(r"\\text\s*\{\s*,?\s*(and|or|to)\s*\}")
_ROOT = lazy(r"√\s*(?:\(([^()]*)\)|([0-9.]+|[A-Za-z]))|(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)")
_ROOT_OF = lazy(r"(\\sqrt(?:\[[34]\])?)\s*(?:\(([^()]*)\)|([0-9]+(?:\.[0-9]+)?)(?![0-9{]))")
_SHORT_FRACTION = lazy(r"\\frac\s*([0-9])\s*(?=[0-9{])")
_SHORT_DENOMINATOR = lazy(r"(\\frac\s*\{[^{}]*\})\s*([0-9])")
_WRAPPED = lazy(r"(\*+|_+|`+|'|\")((?:(?!\1).)+)\1|\\(?:text|letter)\s*\{([^{}]*)\}", re.DOTALL)
_ENDS = lazy(r"^[\s=:]+|(?:[\s,;:]|(?<![.])\.)+$")


def normal(text: str) -> str:
    """The text in one spelling, without surrounding decoration; may be empty."""
    if _PLAIN.fullmatch(text) and "sqrt" not in text:
        return _stripped(text)
    text = _latex(_unicode(text))
    return _stripped(" ".join(text.split()))


def _unicode(text: str) -> str:
    """ASCII in place of scripts, widths, digits and signs of Unicode."""
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda run: f"^{{{unicodedata.normalize('NFKC', run[0])}}}", text)
    text = _SUBSCRIPT.sub(lambda run: f"_{{{unicodedata.normalize('NFKC', run[0])}}}", text)
    text = _VULGAR.sub(_vulgar, text).translate(_CHARACTERS)
    text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS)
    text = "".join(character if character.isascii() else _digit(character) for character in text)
    return _GREEK.sub(lambda letter: f"\\{_greek(letter[0])} ", text)


def _vulgar(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match[0]).split("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}"


def _digit(character: str) -> str:
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _greek(letter: str) -> str:
    name = unicodedata.name(letter).split()[-1].lower().replace("lamda", "lambda")
    return name.capitalize() if letter.isupper() else name


def _latex(text: str) -> str:
    """The text without the LaTeX that says nothing, one command for each meaning."""
    if "\\" in text:
        text = _THOUSANDS.sub("", text)
        if r"\begin" not in text:
            # A doubled backslash ends a matrix row; elsewhere it is an escaped single one.
            text = text.replace("\\\\", "\\")
        text = _DEGREE.sub("°", _BOX.sub(r" \1 ", text))
        text = _NAMED.sub(r"\\\1 ", text)
        text = _JOINED.sub(r" \1 ", _COMMAND.sub(_command, text))
        text = _LETTER.sub(lambda match: match[1] or match[2] or match[3], text)
        text = _ROOT_OF.sub(lambda match: f"{match[1]}{{{match[2] or match[3]}}}", text)
        text = _SHORT_DENOMINATOR.sub(r"\1{\2}", _SHORT_FRACTION.sub(r"\\frac{\1}", text))
    text = re.sub(r"(?<=[^\s(\[,~])~(?![0-9])|(?<=[^0-9\s(\[,~])~", " ", text.replace("{,}", ","))
    text = _DOLLARS.sub(r"\1", text).replace("<=", "≤").replace(">=", "≥").replace("!=", "≠").replace("->", "→")
    text = _ANGLES.sub(r"⟨\1⟩", text.replace("→", " → "))
    return _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2] or match[3] or ''}}}", text)


def _command(match: re.Match[str]) -> str:
    name = match[1]
    return _REPLACEMENTS.get(name, match[0])


def _stripped(text: str) -> str:
    """Without the emphasis, quotes, boxes of text, and punctuation around it."""
    before = None
    while before != text:
        before, text = text, _ENDS.sub("", text)
        if wrapped := _WRAPPED.fullmatch(text):
            text = wrapped[2] or wrapped[3] or ""
    return text


def plain(text: str) -> str:
    r"""A normal text with `\text{...}` opened."""
    return " ".join(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text).split()) if "\\text" in text else text


def compact(text: str) -> str:
    """A normal text without the white space that means nothing: 1 1/2 is not 11/2, and 100, 200 is not 100,200."""
    return re.sub(r"(?<![0-9,])\s+|\s+(?![0-9])", "", text)
