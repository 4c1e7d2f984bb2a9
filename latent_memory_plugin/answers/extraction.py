r"""The answer in a completion, by what the text declares; and answers that are handed over bare.

The places, the strongest first; of one kind the last counts:

1. a declared field: `<answer>...</answer>`, `{"answer": ...}` of a function's output;
2. `\boxed{...}` or `\fbox{...}` with nested braces (an empty or unclosed box does not count);
3. `#### x` at the start of a line or after a sentence, a heading "Final Answer" and the line below it;
4. "the answer is x", "Answer: x" and their kin in several languages: up to the end of the clause, the right side of its
   last equation, without what is said in brackets or as a reason;
5. a text that is nothing but an answer: a choice letter, "No solution.";
6. the last quantity of the text: with its sign, exponent, mixed number, time or date whole, and the formula around it
   where it stands between math delimiters.

What stands before `</think>` is no answer, and a thought that is not closed has none.
"""

import json
import re
from collections.abc import Callable
from typing import Any, cast

from latent_memory_plugin.answers import locales, quantities
from latent_memory_plugin.answers.kinds import KINDS
from latent_memory_plugin.answers.normal import DASHES
from latent_memory_plugin.answers.patterns import lazy
from latent_memory_plugin.answers.reading import read

ExtractAnswer = Callable[[str], str | None]
"""The answer in a completion; None where it holds none. Any such function can stand in for `extract`."""

_MAX_STATED = 200
_MAX_BARE = 60
_MAX_FIELDS = 20
_MAX_UNIT_WORDS = 3
_MAX_NAME_WORDS = 6
_ALONE = frozenset({"choice", "none", "truth"})
_ALONE_WITHOUT_WORDS = frozenset(KINDS) - {"number", "quantity", "money", "duration", "name", "text", "code"}
_MINUS = f"[-{DASHES}]"

_THOUGHT_END = lazy(
    r"</\s*(?:think|thinking|thought|reasoning|reflection)\s*>|◁/think▷|\[/THINK\]|<\|end_of_thought\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_THOUGHT = lazy(
    r"<\s*(?:think|thinking|thought|reasoning|reflection)\s*>|◁think▷|\[THINK\]|<\|begin_of_thought\|>"
    r"|<\|channel\|>analysis<\|message\|>",
    re.IGNORECASE,
)
_TAG = lazy(r"<\s*(/?)\s*(final_answer|answer|solution)\s*>", re.IGNORECASE)
_FIELD = lazy(r"[\"'](?:final[_ ]?)?answer[\"']\s*:\s*(?=(\S))", re.IGNORECASE)
_CALL = lazy(r"\bfinal_answer\(\s*(?:answer\s*=\s*)?(['\"]?)(.{0,200}?)\1\s*\)")
_QUOTED = lazy(r"'((?:[^'\\]|\\.)*)'")
_COMPLETE = lazy(r".*(?:\n|[.!?]\s|\$|\\\)|\\\]|\*\*)", re.DOTALL)
"""What of a completion that was cut off is complete."""

_BRACES = lazy(r"\\(?P<box>boxed|fbox|framebox)\s*\{|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_MARKED = lazy(r"\n|\\boxed|####|<\s*(?:final_)?answer", re.IGNORECASE)
_JOINT = lazy(r"[\s$]*(?:,|,?\s*\\?(?:and|or|text\s*\{\s*(?:and|or)\s*\}))[\s$]*")
_AND = lazy(r"\s*(?:,?\s*(?:and|or)\b|,)\s*")
_BARE_BOX = lazy(r"\\boxed\s*([^\s{}$\\]+)")
_HASHES = lazy(r"(?:^[ \t>*]*|(?<=[.!?)0-9]) +)####(?!#):? *([^\n]+)", re.MULTILINE)
_HEADING = lazy(
    r"^[ \t>*#]*(?:the )?(?:final )?answer[ \t*:#]*\n+[ \t]*([^\n]+?)[ \t]*(?=\n|\Z)", re.MULTILINE | re.IGNORECASE
)

_WORD = (
    r"answers?|ans|(?:correct|right|best|final) (?:option|choice)|antwort|réponse|respuesta|resposta|risposta|antwoord|"
    r"svar(?:et)?|odpowiedź|ответ|відповідь|cevap|उत्तर|উত্তর|الجواب|الإجابة|جواب|答案|答え|答|정답|답"
)
_IS = (
    r"(?:(?:turn(?:s|ed)? out to be|seems? to be|(?:would|will|must|should) be|is|are|be|was|ist|est|es|é|è|är|jest)"
    r"(?![A-Za-z])|[=:：为是は])"
)
_STATED = lazy(
    rf"(?<![A-Za-z])(?:{_WORD})[*_]*"
    rf"(?:(?:\s+(?:to|for|of|in|as|choice|option|here|therefore|thus|then)\b[^.:\n]{{0,60}}?)?\s*{_IS}"
    rf"|(?<=ANSWER)\s+(?=\S+\s*$))|\bresult\s+(?:is|=|:)(?=\s)"
    r"|\(?\b((?-i:[A-J]))\b\)?(?:\*\*)?\s+is\s+(?:the\s+)?(?:correct|right|best)\b"
    r"|\bI(?:'d| would)?\s+(?:choose|pick|select)\s+(?:option\s+)?\(?((?-i:[A-J]))\b",
    re.IGNORECASE,
)
_LEAD = lazy(
    r"[\s*_:：,]*(?:(?:(?:therefore|thus|then|simply|just|indeed|now|the)\b(?! [a-z])|option\b|choice\b|equal to|"
    r"given by|of course|number(?=\s+\d)|#(?=\d)|[a-z]+ly\b(?=,?\s*[-$\\(\d])|exactly|"
    r"still|only|a total of|approximately|about|that(?= there (?:is|are) no\b)|[~≈])[\s,:*]*)*",
    re.IGNORECASE,
)
_MATH = lazy(
    r"\\\[(.+?)\\\]|\\\((.+?)\\\)|\$\$(.+?)\$\$|(?<!\\)\$(?![0-9.,]+\s+(?:[A-Za-z]{2}|[-+=*/]))([^$]+?)(?<!\\)\$",
    re.DOTALL,
)
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"))
_PROSE = lazy(r"(?<![\\A-Za-z{])[A-Za-z]{3}|\n\s*\n")
_CHOICE = lazy(
    r"(?:(?:option|choice)\s+)?[*_]*(?:\(([A-Ja-j])\)|\[([A-J])\]|([A-J])(?:[).:*_]+|(?=\s+(?:because|since|as)\b)|(?=\s*$)))"
    r"(?!\s+(?:[a-z]{3,}\.?$|[A-Z]\.))(?=[\s.:,*]|$)"
)
_END = lazy(
    r"\n|(?:[.?!]+|\\\.)(?=[\s*\"'”]|$)|[。！？]|\s*(?:です|である|입니다|이다)|"
    r",?\s+(?:and not|because|since|where|assuming|but|so|and the|which)\b|,\s+(?!and\b|or\b)[a-z]{2,}"
    r"|\*\*|;\s+(?=[A-Za-z])|\s+[-–—]\s+(?=[A-Za-z])"
)
_NOT_BUT = lazy(r"(?:not|n't)\s+.{1,60}?,?\s*\b(?:but|it is|it's)\s+(?:rather\s+)?", re.IGNORECASE)
_APPOSITION = lazy(
    r"(?:\bwhich\s+(?:is|equals|gives|makes|comes to)|,|\bi\.e\.,?|\bnamely)\s+([^,]{1,60})$", re.IGNORECASE
)
_EXPLANATION = lazy(
    r"(?:the (?:sum|number|product|difference|amount|total|value|same)|found|obtained|first|calculated|given|we|you|"
    r"that|to)\b",
    re.IGNORECASE,
)
_ASIDE = lazy(r"(?<=[^\s(\[{=])\s+\((?![^()]*[,;])[^()]*\)\s*$|<<[^<>]*>>")
_ABBREVIATED = lazy(
    r"(?<=\b[A-Z]\.) (?=[a-z]|[A-Z]\.)|(?<=[A-Z]\. [A-Z]\.) (?=[A-Z])|(?<=\b(?:Mr|Dr|St|vs|Ms))\. |"
    r"(?<=[ap]\.m)\.|(?<=\b[A-Z])\.(?=[A-Z]\.)"
)

_FIGURE = (
    r"(?:\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?:\.\d{3})+,\d+|"
    r"\d{1,3}(?:[ \u00a0\u202f\u2009]\d{3})+(?![\d])(?:[.,]\d+)?|\d+(?:\.\d+)?|\.\d+)"
)
_TIMES_TEN = r"\s*(?:×|x|\\times|\\cdot|·|\*)\s*10\s*(?:\^\s*\{?\s*[-−+]?\d+\}?|[⁰¹²³⁴-⁹⁻]+)"
_SCALES = r"(?:\s+(?:hundred|thousand|million|billion|trillion|dozen)\b)"
_MONEY_SIGN = "[$€£¥₹₩]"
_LAST = lazy(
    rf"(?<![A-Za-z0-9_^.\\])(?<!\^\{{)(?:(?<![A-Za-z0-9_)\]}}])(?<![0-9)\]}}%][ ]){_MINUS}(?=[\d.$€£\\]))?"
    rf"{_MONEY_SIGN}?\s?(?:\d{{4}}-\d{{2}}-\d{{2}}(?![\d-])|\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}(?!\d)|"
    r"\d{1,2}(?::\d{1,2})+(?:\s?[ap]\.?m\b\.?)?|\d{1,2}\s?[ap]\.?m\b\.?|"
    r"(?:\d+\s*)?\\[dt]?frac\{-?\d+\}\{-?\d+\}|"
    rf"\d+(?:\.\d+)?[eE][-+]?\d+(?![A-Za-z0-9])|{_FIGURE}{_TIMES_TEN}|\d+\s+\d+/\d+(?![\d/])|"
    r"\d+–\d+(?!\d)|\d+,\d{1,2}(?=\s?(?:€|%|[a-zа-я]{2}))|"
    rf"{_FIGURE}(?:\s?/\s?\d+(?![\d/]))?{_SCALES}?)(?:\s?\\?%)?"
)
_COMPOUND = lazy(rf"{_FIGURE}\s+[A-Za-z]+(?:(?:,?\s+and\s+|,\s+|\s+){_FIGURE}\s+[A-Za-z]+){{1,3}}")
_NAMED_DATE = lazy(
    r"[^\W\d_]{3,}\.? \d{1,2}(?:st|nd|rd|th)?(?:, \d{4})?(?!\d)|"
    r"\d{1,2}(?:st|nd|rd|th|\.)? (?:of |de )?[^\W\d_]{3,}\.?,?(?: (?:de )?\d{4})?"
    r"|[^\W\d_]{3,} \d{4}(?!\d)"
)
_QUANTITY = lazy(rf"((?:{_MINUS}\s?)?{_MONEY_SIGN}?\s?{_FIGURE}(?:\s?\\?%)?)((?:\s+[A-Za-z]{{2,}})+)")
_ODDS = lazy(r"\d+ (?:in|out of) (?:every )?\d+")
_UNIT_END = lazy(r"\s+(?:of|for|to|at|in|on|by|when|if|after|before|from|with|that|and|or|he|she|they|it)\b")


def extract(text: str, *, finished: bool = True) -> str | None:
    r"""The answer in a completion, or None where it holds none. Never raises; takes time in proportion to the text.

    `finished` False says that the completion was cut off: then only what was declared before the cut counts, which are
    the first four places of the module's list, and not the last quantity, which may be any.

    >>> extract(r"So it is \boxed{\frac{1}{2}}."), extract("18 eggs\n#### 1,800"), extract("The answer is **x = 5**.")
    ('\\frac{1}{2}', '1,800', 'x = 5')
    """
    said = _after_thought(text)
    if said is None:
        return None
    field = _field(said)
    if field is not None:
        return field or None
    if finished:
        return _declared(said) or _whole(said) or _last_quantity(said)
    complete = _COMPLETE.match(said)
    return _boxed(said) or (_declared(complete[0]) if complete else None)


def _declared(said: str) -> str | None:
    return _field(said) or _boxed(said) or _after_hashes(said) or _stated(said)


def bare(text: str) -> str | None:
    """An answer that was handed over: a corrected answer, a label, a field of a file. It is taken as it is, without the
    white space around it, and never searched; None where it is empty.

    Only where it is a whole completion with marks of one, or a sentence such as an agent says ("It is 2."), its answer
    is taken as `extract` does.
    """
    said = text.strip()
    kind = read(said).kind
    declared = _declared(_after_thought(said) or "") if kind == "text" or _MARKED.search(said) else None
    spoken = kind in ("name", "text") and not declared and _SENTENCE.search(said)
    return declared or (extract(said) if spoken else None) or said or None


_SENTENCE = lazy(
    r"\b(?:is|are|was|were|has|have|had|equals?|makes?|gives?|gets?|costs?|needs?|takes?|pays?|comes? to)\b.*[.!?]$",
    re.IGNORECASE | re.DOTALL,
)
"""A sentence with a verb that answers have."""


def _after_thought(text: str) -> str | None:
    """What stands behind the last thought; None inside one."""
    *_, end = [0, *(match.end() for match in _THOUGHT_END.finditer(text))]
    return None if _THOUGHT.search(text, end) else text[end:]


def _field(text: str) -> str | None:
    """A tag, a field of JSON or of a Python literal, or the call of smolagents that ends a run; empty where that holds
    nothing, None where there is none."""
    found: str | None = None
    opened = None
    for tag in _TAG.finditer(text) if "<" in text else ():
        if not tag[1]:
            opened = tag
        elif opened and opened[2] == tag[2]:
            inner, opened = text[opened.end() : tag.start()], None
            found = _boxed(inner) or _stated(inner) or _tidy(inner) or found
    if found:
        return found
    for match in list(_FIELD.finditer(text))[-_MAX_FIELDS:]:
        value = _value(text, match.end())
        found = (value and _stated(value)) or value or found or value
    for match in _CALL.finditer(text) if "final_answer(" in text else ():
        found = _tidy(match[2]) or found
    return found


def _value(text: str, start: int) -> str | None:
    """The JSON value or quoted text at a place; numbers as they are spelled, null is empty."""
    if quoted := _QUOTED.match(text, start):
        return _tidy(quoted[1])
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    while isinstance(value, dict) and len(cast("dict[str, Any]", value)) == 1:
        (value,) = cast("dict[str, Any]", value).values()
        text, start, end = str(value), 0, len(str(value))
    return "" if value is None else _tidy(value if isinstance(value, str) else text[start:end])


def _boxed(text: str) -> str | None:
    """The content of the box that opens last, so that of nested boxes the inner one counts; of boxes joined by commas
    or "and" the contents of all."""
    opened: list[tuple[bool, int]] = []
    boxes: list[tuple[int, int, str]] = []
    for match in _BRACES.finditer(text) if "box" in text else ():
        if match["box"] or match["open"]:
            opened.append((bool(match["box"]), match.end() if match["open"] else match.start()))
        elif match["close"] and opened:
            is_box, start = opened.pop()
            content = _tidy(text[text.index("{", start) + 1 : match.start()]) if is_box else ""
            if content and (not boxes or start > boxes[-1][0]):
                boxes.append((start, match.end(), content))
    if not boxes:
        plain = _BARE_BOX.search(text)
        return (_tidy(plain[1]) or None) if plain else None
    joined = [boxes[-1][2]]
    for (_, end, content), (start, *_) in zip(reversed(boxes[:-1]), reversed(boxes), strict=False):
        if not _JOINT.fullmatch(text, end, start):
            break
        joined.insert(0, content)
    return ", ".join(joined)


def _after_hashes(text: str) -> str | None:
    """The last `#### x`; a heading with more text below it is none, unless it begins with a number."""
    end = len(text.rstrip())
    for match in reversed(list(_HASHES.finditer(text))):
        content = _tidy(re.sub(r"^(?:final )?answer\b\s*[:=]?", "", _tidy(match[1]), flags=re.IGNORECASE))
        if content and (match.end() >= end or re.match(r"[-$€£\\(]*\d|\\", content)):
            return content
    for match in reversed(list(_HEADING.finditer(text))):
        if content := _clause(match[1] + "\n"):
            return content
    return None


def _stated(text: str) -> str | None:
    for match in reversed(list(_STATED.finditer(text))):
        if letter := match[1] or match[2]:
            return letter
        if answer := _clause(text[match.end() : match.end() + 2 * _MAX_STATED]):
            return answer
    return None


def _clause(text: str) -> str | None:
    """The answer at the start of what follows "the answer is"; None where that is an explanation."""
    if (lead := _LEAD.match(text)) is not None:
        text = text[lead.end() :]
    if denied := _NOT_BUT.match(text):
        text = text[denied.end() :]
    if re.match(r"not\b(?!\s+(?:possible|defined|enough|exist))", text, re.IGNORECASE):
        return None
    if choice := _CHOICE.match(text):
        return next(filter(None, choice.groups())).upper()
    if math := _MATH.match(text):
        formulas = [_formula(math, text)]
        while (joint := _AND.match(text, math.end())) and (math := _MATH.match(text, joint.end())):
            formulas.append(_formula(math, text))
        return ", ".join(formulas)
    hidden = _ABBREVIATED.sub(lambda found: found[0].replace(".", "\0").replace(" ", "\1"), text)
    end = _END.search(hidden, 1)
    clause = hidden[: end.start()] if end else hidden
    return _of_clause(clause.replace("\0", ".").replace("\1", " "), hidden)


def _formula(math: re.Match[str], text: str) -> str:
    """A formula, with the percent sign or the unit behind it, and the last side of an equation of numbers."""
    inner = _tidy("".join(filter(None, math.groups())))
    after = re.match(r"\s*(?:\\?%|(?=[^\W\d_]{2,3}\b)(?:cm|mm|km|kg|m|ft|in)\b)", text[math.end() :])
    return _right_side(inner) + (after[0] if after else "")


def _of_clause(clause: str, whole: str) -> str | None:
    """An answer from a clause: the right side of its equation, without asides; of an explanation what it comes to."""
    clause = _tidy(_right_side(_ASIDE.sub("", _balanced(_tidy(clause)))))
    if not re.search(r"[\w∅∞]", clause) or len(clause) > _MAX_STATED:
        return None
    of = re.match(rf"({_FIGURE})\s+of\b", clause)
    clause = _tidy(_short_quantity(of[1] if of else clause))
    found = read(clause)
    if not found.text:
        return None
    if found.kind in ("text", "code") or (found.kind in ("name", "set") and _explains(clause, found.kind)):
        sentence = re.split(r"[.!?](?:\s|$)", whole, maxsplit=1)[0]
        said = _APPOSITION.search(sentence) or re.search(r"\b(?:to|get|gives|is)\s+(\S+)$", sentence)
        if said and read(said[1]).kind not in ("name", "text", "code", "set"):
            return _tidy(said[1])
        return None
    return clause


def _explains(clause: str, kind: str) -> bool:
    """Whether a short text is a description of the answer rather than the answer: found by adding 3 and 4."""
    return _EXPLANATION.match(clause) is not None or (kind == "name" and len(clause.split()) > _MAX_NAME_WORDS)


def _right_side(clause: str) -> str:
    """14 of (3 + 4) * 2 = 14; x = 5 and equations of letters stay."""
    left, sign, right = clause.rpartition("=")
    if not sign or re.search(r"[<>≤≥!:]$", left) or re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", left)):
        return clause
    return right.strip()


def _short_quantity(clause: str) -> str:
    """`18 dollars` of "18 dollars for the eggs"; other clauses unchanged."""
    quantity = _QUANTITY.match(clause)
    if (
        not quantity
        or re.match(r"\s+(?:and|or|to)\b", quantity[2])
        or _COMPOUND.fullmatch(clause)
        or _ODDS.match(clause)
    ):
        return clause
    if quantity.end() < len(clause) and read(clause).kind not in ("text", "name"):
        return clause
    unit = _UNIT_END.split(quantity[2])[0]
    return quantity[1] + (unit if len(unit.split()) <= _MAX_UNIT_WORDS else "")


def _whole(text: str) -> str | None:
    """A text that is nothing but an answer."""
    said = _tidy(text)
    if not said or len(said) > _MAX_BARE or "\n" in said:
        return None
    kind = read(said).kind
    formula = kind in _ALONE_WITHOUT_WORDS and not said.isalpha() and not _PROSE.search(said)
    return said if kind in _ALONE or formula else None


def _last_quantity(text: str) -> str | None:
    """The last quantity, with the formula around it where it stands in one: `4t` and not 4."""
    last, text = None, text.replace("__", "")
    for match in _LAST.finditer(text):
        last = match
    if last is None:
        return None
    for pattern, reader in ((_COMPOUND, quantities.compound), (_NAMED_DATE, locales.date)):
        for match in pattern.finditer(text, max(0, last.start() - 40)):
            if match.end() >= last.end() and reader(match[0]):
                return match[0]
    found = re.sub(rf"{_MONEY_SIGN}\s?", "", last[0]).strip()
    if re.fullmatch(r"-?\d+,\d{1,2}", found):  # a decimal comma, as what follows shows
        found = found.replace(",", ".")
    digits = last[0].lstrip(f"-$€£¥₹₩ {DASHES}")
    middle = last.end() - len(digits)
    before, after = text[:middle].rpartition("\n\n")[2], text[last.end() :][:_MAX_STATED]
    for start, end in _DELIMITERS:
        # An odd number of dollars before it: the number stands inside a pair.
        opens = before.count("$") % 2 == 1 if start == "$" else start in before
        if opens and end in after:
            formula = before.rpartition(start)[2] + digits + after.partition(end)[0]
            if end not in formula and not _PROSE.search(formula):
                return _tidy(_right_side(formula))
    return found


def _tidy(text: str) -> str:
    """Without the white space, emphasis, quotes, math delimiters and final dot around it."""
    text = text.strip().strip("*`").strip()
    for before, after in (*_DELIMITERS, ('"', '"'), ("“", "”"), ("__", "__")):
        inner = text[len(before) : -len(after)]
        if len(text) > len(before + after) and text == before + inner + after and before not in inner:
            text = inner.strip()
    return text.rstrip(".,;: ").strip("*`").strip()


def _balanced(text: str) -> str:
    r"""Without an opening that was never closed: `\boxed{12` and `$\frac{1}{2`."""
    text = re.sub(r"^\\(?:boxed|fbox)\s*\{(?=[^{}]*$)", "", text)
    if text.count("$") == 1 and text.startswith("$") and re.match(r"\$\s*[\\A-Za-z]", text):
        text = text[1:]
    return text + "}" * max(0, text.count("{") - text.count("}"))
