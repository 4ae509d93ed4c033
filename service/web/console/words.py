"""The languages of the console: English, and what the catalogue of another one has for a text."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import humanize
from babel.messages.pofile import read_po
from flask import g, request

LANGUAGES: Final = {"en": "English", "zh": "简体中文"}
LANGUAGE_COOKIE: Final = "zego_retention_language"
_HTML: Final = {"en": "en", "zh": "zh-Hans"}
_NAME: Final = re.compile(r"\{([A-Za-z]\w*)\}")
_LONGEST, _DEEPEST, _MOST_PARTS = 2_000, 4, 20
"""Bounds of the work for one sentence: strangers can choose parts of some (a stream, what ZEGO answers)."""


def choose_language() -> str:
    """The language that was chosen, else the one that the browser asks for."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match([*LANGUAGES], "en") or "en"


def set_up_language() -> None:
    """Let this request be answered in its language."""
    g.language, g.html_language = choose_language(), _HTML[choose_language()]
    if g.language == "en":
        humanize.i18n.deactivate()
    else:
        humanize.i18n.activate("zh_CN")


def gettext(text: str, /, **values: object) -> str:
    """A text in the language of the request; `%(name)s` in it stands for a value."""
    found = _load(g.get("language", "en"))[0].get(text, text)
    return found % values if values else found


def translate_sentence(text: str) -> str:
    """A sentence of the service, which is stored in English; one that the catalogue has no pattern for stays so."""
    return _translate(g.get("language", "en"), text)


@lru_cache(maxsize=4096)
def _translate(language: str, text: str, depth: int = 0) -> str:
    """Whole, or by a pattern whose values may be sentences, too, or part by part."""
    exact, patterns = _load(language)
    if text in exact or len(text) > _LONGEST or depth > _DEEPEST:
        return exact.get(text, text)
    if parts := _translate_parts(language, text, depth, "; ", "；"):
        return parts
    for pattern, translation in patterns:
        if fits := pattern.fullmatch(text):
            values = {
                name: value if name.isupper() else _translate(language, value, depth + 1)
                for name, value in fits.groupdict().items()
            }
            return _NAME.sub(lambda name: values[name[1]], translation)  # noqa: B023  (called before the next one)
    return _translate_parts(language, text, depth, ", ", "，") or text


def _translate_parts(language: str, text: str, depth: int, separator: str, joined: str) -> str:
    """A list of sentences or words; "" where one of them has no translation: it may be what a person wrote."""
    parts = text.split(separator, _MOST_PARTS)
    found = [_translate(language, part, depth + 1) for part in parts] if len(parts) > 1 else parts
    return "" if any(part == made for part, made in zip(parts, found, strict=True)) else joined.join(found)


@cache
def _load(language: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """The texts of a language, and the patterns of sentences with what they become, those that say most first.

    `{name}` stands for a value, which is translated, too, `{NAME}` for one that stays as it is, `{N}`, `{N2}` for a
    number.
    """
    if language == "en":
        return {}, []
    with (files("service.web.console") / "locales" / f"{language}.po").open("rb") as catalogue:
        messages = [each for each in read_po(catalogue, locale=language) if each.id and each.string]
    exact = {str(each.id): str(each.string) for each in messages}
    patterns = sorted((text for text in exact if _NAME.search(text)), key=lambda text: -len(_NAME.sub("", text)))
    return exact, [(_compile(text), exact[text]) for text in patterns]


def _compile(text: str) -> re.Pattern[str]:
    """A pattern as a regular expression: what follows a value is taken where it first occurs; steps never multiply."""
    first, *parts = _NAME.split(text)
    named = list(zip(parts[::2], map(re.escape, parts[1::2]), strict=True))
    values = {name: "[0-9,]+" if re.fullmatch("N[0-9]?", name) else ".+" for name, _ in named}
    inner = "".join(f"(?>(?P<{name}>{values[name]}?){words})" for name, words in named[:-1])
    last = "".join(f"(?P<{name}>{values[name]}){words}" for name, words in named[-1:])
    return re.compile(re.escape(first) + inner + last, re.DOTALL)
