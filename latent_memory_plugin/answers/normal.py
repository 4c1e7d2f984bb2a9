r"""One spelling for the many spellings of LaTeX, Markdown and Unicode.

`normal` keeps the meaning and writes structure as single characters, so that later readers need no LaTeX:
set braces ⦃ ⦄, angle brackets ⟨ ⟩, and ∪ ∈ ± ≈ ≤ ≥ ≠ ∞ ∅ ° % ＄ (currency). Mathematics inside an expression
(`\frac`, `\sqrt`, `\pi`, ...) stays LaTeX.
"""

import re

MAX_CHARACTERS = 512
"""Longer answers are compared as text."""

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑﹣－", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\u3000", " "),
        **dict.fromkeys("·⋅∙", r"\cdot "),
        **dict(zip("０１２３４５６７８９", "0123456789", strict=True)),
        **{"×": r"\times ", "÷": r"\div ", "π": r"\pi ", "θ": r"\theta ", "²": "^2", "³": "^3", "º": "°"},
        **{"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}"},
        **{"，": ",", "。": ".", "％": "%", "⁄": "/", "∕": "/", "’": "'", "∣": "|", "\ufeff": ""},
    }
)
_COMMANDS = {
    r"\frac": "dfrac tfrac cfrac",
    r"\text": "mathrm mathbf mathit textbf textit textrm textnormal textsf mbox",
    "": "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle boxed fbox",
    " ": "quad qquad space",
    **{"|": "mid vert lvert rvert", "*": "ast", "<": "lt", ">": "gt", "≤": "le leq leqslant", "≥": "ge geq geqslant"},
    **{"≠": "ne neq", "≈": "approx", "±": "pm", "∈": "in", "∪": "cup", "∅": "varnothing emptyset", "∞": "infty"},
    **{"⦃": "lbrace", "⦄": "rbrace", "⟨": "langle", "⟩": "rangle", "[": "lbrack", "]": "rbrack"},
    **{"°": "degree", "%": "percent", "＄": "dollar", "€": "euro", "£": "pounds"},
}
_ESCAPES = {"{": "⦃", "}": "⦄", "$": "＄", "!": "", "%": "%", "#": "#", **dict.fromkeys(",;: ()[]", " ")}
_REPLACEMENTS = _ESCAPES | {name: meaning for meaning, names in _COMMANDS.items() for name in names.split()}

_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}(?:\\!)?|,\\!|\\[,;: ])\s*(?=[0-9]{3}(?![0-9]))")
_DEGREE = re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})")
_COMMAND = re.compile(r"\\(\\|[A-Za-z]+|[^A-Za-z])")
_DOLLARS = re.compile(r"\$([^$]*)\$")
_JOINED = re.compile(r"\\text\s*\{\s*,?\s*(and|or)\s*\}")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|([0-9.]+|[A-Za-z]))|(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)")
_SHORT_FRACTION = re.compile(r"\\frac\s*([0-9])\s*(?=[0-9{])")
_SHORT_DENOMINATOR = re.compile(r"(\\frac\s*\{[^{}]*\})\s*([0-9])")
_SHORT_ROOT = re.compile(r"\\sqrt\s*([0-9])(?![0-9])")


def normal(text: str) -> str:
    """The text in one spelling, without surrounding decoration; may be empty."""
    text = _THOUSANDS.sub("", text.translate(_CHARACTERS))
    if r"\begin" not in text:
        # A doubled backslash ends a matrix row; elsewhere it is an escaped single one.
        text = text.replace("\\\\", "\\")
    text = _COMMAND.sub(_command, _DEGREE.sub("°", text))
    text = _JOINED.sub(r" \1 ", _DOLLARS.sub(r"\1", text)).replace("<=", "≤").replace(">=", "≥")
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2] or match[3] or ''}}}", text)
    text = _SHORT_FRACTION.sub(r"\\frac{\1}", text)
    text = _SHORT_DENOMINATOR.sub(r"\1{\2}", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    return " ".join(text.split()).lstrip(" =:*`").rstrip(" .,;:*`")


def _command(match: re.Match[str]) -> str:
    name = match[1]
    return _REPLACEMENTS.get(name, match[0])


def compact(text: str) -> str:
    """A normal text without the white space that means nothing: 1 1/2 is not 11/2, and 100, 200 is not 100,200."""
    return re.sub(r"(?<![0-9,])\s+|\s+(?![0-9])", "", text)
