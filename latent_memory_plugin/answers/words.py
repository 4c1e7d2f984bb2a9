"""Number words and plurals. The door to text2num and simplemma.

text2num (3.1, 2026) reads eight languages; word2number, which is usually named, reads one and has had no release since
2017. Chinese and Japanese numerals are in Python's own Unicode data.
"""

import importlib
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from latent_memory_plugin.answers.patterns import lazy

OTHER_LANGUAGES = ["de", "fr", "es", "pt", "it", "nl", "da"]

_WORDS = lazy(r"[^\W\d_]+(?:[ -][^\W\d_]+){0,11}")
_NUMBER_WORD = lazy(
    r"(?:minus |negative )?(?:an? )?(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]+teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|[mbtr]+illion|half|quarter|third|dozen)s?\b"
)
_UNIT = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4, "third": 3, "thirds": 3}
_HAN = "〇零一二三四五六七八九十百千万萬億亿兆两兩壹貳叁肆伍陸柒捌玖拾佰仟"
_MAX_HAN = 20


@lru_cache(maxsize=1)
def _text2num() -> Any:
    return importlib.import_module("text_to_num")


@lru_cache(maxsize=1)
def _simplemma() -> Any:
    return importlib.import_module("simplemma")


@lru_cache(maxsize=4096)
def singular(word: str) -> str:
    """The dictionary form of an English noun in small letters: geese → goose, boxes → box."""
    found = _simplemma().lemmatize(word, lang="en").casefold()
    unknown = found == word.casefold() and found.endswith("s") and not found.endswith("ss")
    return "person" if found == "people" else found[:-1] if unknown else found


def figures(text: str) -> str:
    """A text that begins with an English number word with figures in its place: `two thirds` → `2/3`, `twelve eggs` →
    `12 eggs`. Other texts come back as they are, titles (Seven Samurai) too."""
    small = text[:1].casefold() + text[1:]
    if not _NUMBER_WORD.match(small) or len(text) > 100 or re.search(r"\s[A-Z]", text):
        return text
    spelled = _text2num().alpha2digit(small.replace("negative ", "minus "), "en", threshold=0)
    for pattern, replacement in _FIGURES:
        spelled = pattern.sub(replacement, spelled)
    return spelled if spelled[:1].isdigit() or spelled[:1] == "-" else text


def _part(match: re.Match[str]) -> str:
    whole, joint, word = match.groups()
    under = _UNIT.get(word) or int(re.sub(r"\D", "", word))
    return f"{whole} 1/{under}" if joint else f"{whole}/{under}"


def _half(match: re.Match[str]) -> str:
    return f"1/{_UNIT[match[1]]}"


_FIGURES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (lazy(r"^(minus )?an? (?=[0-9]|dozen|half|quarter|third)"), r"\1"),
    (lazy(r"^(minus )?(?=dozen)"), r"\g<1>1 "),
    (lazy(r"^minus (?=[0-9])"), "-"),
    (
        lazy(r"^(-?[0-9]+)((?: and| an?)*) (half|halves|quarters?|thirds?|[0-9]+(?:th|rd)s?)\b(?! of)"),
        _part,
    ),
    (lazy(r"^(half|quarter)\b(?! of)"), _half),
    (lazy(r"^(-?[0-9/]+) (?:of )?an? (?=[a-z])"), r"\1 "),
)
"""What is put right after number words became figures, in this order."""


def number(text: str) -> int | None:
    """The value of a number in words of another language than English, or in Han numerals; None for other texts."""
    if text and all(character in _HAN for character in text):
        return _han(text)
    if not _WORDS.fullmatch(text) or len(text) < 3:
        return None
    for language in OTHER_LANGUAGES:
        try:
            found = _text2num().text2num(text.casefold(), language)
        except ValueError:
            continue
        # "once" is 11 in Spanish and a word in English.
        return None if text.isascii() and _simplemma().is_known(text.casefold(), lang="en") else int(found)
    return None


def _han(text: str) -> int | None:
    """三百二十一 → 321: digits times the power behind them, ten thousands in their turn."""
    total = part = digit = 0
    if len(text) > _MAX_HAN:
        return None
    for character in text.translate(str.maketrans("两兩萬", "二二万")):
        value = int(unicodedata.numeric(character, 0))
        if value >= 10**4:
            total, part, digit = (total + part + digit) * value if not total else total + (part + digit) * value, 0, 0
        elif value >= 10:
            part, digit = part + (digit or 1) * value, 0
        else:
            digit = 10 * digit + value
    return total + part + digit
