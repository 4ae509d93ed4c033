"""The languages of the console: English, and what the catalogue of another one has for a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final

import humanize
from babel.messages.pofile import read_po
from flask import g, request

LANGUAGES: Final = {"en": "English", "zh": "简体中文"}
LANGUAGE_COOKIE: Final = "zego_retention_language"
_HTML: Final = {"en": "en", "zh": "zh-Hans"}


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
    exact, patterns = _load(g.get("language", "en"))
    if text in exact:
        return exact[text]
    for pattern, make in patterns:
        if found := pattern.fullmatch(text):
            return make({name: translate_sentence(value) for name, value in found.groupdict().items()})
    return text


Pattern = tuple[re.Pattern[str], Callable[[dict[str, str]], str]]


@cache
def _load(language: str) -> tuple[dict[str, str], list[Pattern]]:
    """The texts of a language, and those with `{name}` in them: patterns of sentences with what they become."""
    if language == "en":
        return {}, []
    with (files("service.web.console") / "locales" / f"{language}.po").open("rb") as catalogue:
        messages = [each for each in read_po(catalogue, locale=language) if each.id and each.string]
    exact = {str(each.id): str(each.string) for each in messages}
    patterns: list[Pattern] = []
    for text, translation in exact.items():
        if "{" in text:
            parts = re.split(r"\{(\w+)\}", text)
            names = (f"(?P<{part}>.+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts))
            patterns.append((re.compile("".join(names)), _fill(translation)))
    return exact, patterns


def _fill(translation: str) -> Callable[[dict[str, str]], str]:
    return lambda values: re.sub(r"\{(\w+)\}", lambda name: values[name[1]], translation)
