"""The documentation names everything that the code offers: the lists are derived from the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import click
import pytest

from service.cli.commands import cli
from service.health.metrics import metric_names
from service.listing.store import ListingState
from service.model import FileState, Outcome, Role, Verdict, WaitReason
from service.rules.file import parse_rules
from service.rules.match import KEYS
from service.settings import AppSettings, setting_names
from service.sweep.records import PlanState, RunState, Trigger
from service.views.files import File
from service.views.form import form_of
from service.web.api.build import declared_routes
from service.web.api.routes import PREFIX

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
READMES = ("README.md", "README.zh-CN.md")
PAGES = [
    *(ROOT / name for name in READMES),
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
]
SOURCES = [path for folder in ("service", "migrations", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]

MAX_PICTURE_BYTES = 150_000

_HARD_TO_READ = re.compile(
    r"\b(?:(?:would|let it|let|lets) go|let in|told|tells?|anew|reckon\w*|vouch\w*|settled?|nobody knows|will do)\b"
    r"|\b(?:not this time|is not called before|no time at all|passes \S+ off|but for a|gone on with|taken in)\b"
    r"|\b(?:were \w+ not|if you (?:must|like)|l(?:ies|ay) ahead|not any more|turns? out to|asked for again)\b"
    r"|keeps it for \d",
    re.IGNORECASE,
)
"""Idioms, old words and turned sentences: a reader with another first language has to read them twice."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CITATION = re.compile(r"docs/(\w+)\.md(?:, \"([^\"]+)\")?")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_cells(name: str) -> set[str]:
    """What stands as code in the first cells of a page's tables."""
    cells = [line.split(" | ")[0] for line in read(name).splitlines() if line.startswith("| `")]
    return {code for cell in cells for code in re.findall(r"`([^`]+)`", cell)}


def anchors(page: Path) -> set[str]:
    titles = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def list_commands(command: click.Command, path: str = "") -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {path.strip(): command}
    context = click.Context(command)
    found: dict[str, click.Command] = {}
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found |= list_commands(below, f"{path} {name}")
    return found


def test_every_setting_is_documented_and_no_other() -> None:
    documented = first_cells("docs/settings.md")
    settings = {name for name in documented if name.isupper()}
    assert settings == set(setting_names()) - {"APPS"}
    assert set(AppSettings.model_fields) <= documented


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs/files.md", FileState),
        ("docs/callbacks.md", Verdict),
        ("docs/sweep.md", Outcome),
        ("docs/sweep.md", RunState),
        ("docs/sweep.md", Trigger),
        ("docs/sweep.md", PlanState),
        ("docs/reconcile.md", ListingState),
        ("docs/http.md", Role),
    ],
)
def test_every_state_is_documented(page: str, words: type[FileState]) -> None:
    assert {word.value for word in words} <= first_cells(page)


def test_every_metric_is_documented_and_no_other() -> None:
    assert {name for name in first_cells("docs/http.md") if name.startswith("zego_retention_")} == set(metric_names())


def test_every_command_and_option_is_documented_and_no_other() -> None:
    rows = [line.split(" | ") for line in read("docs/cli.md").splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): row[1] for row in rows}
    names = {re.sub(r" [\[A-Z].*", "", signature): options for signature, options in documented.items()}
    commands = list_commands(cli)
    assert set(names) == set(commands)
    for name, command in commands.items():
        options = {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option) and not p.hidden}
        assert set(re.findall(r"`(--[\w-]+)`", names[name])) == options, name


def test_every_route_is_documented_with_its_role_and_no_other() -> None:
    rows = [line.split(" | ") for line in read("docs/http.md").splitlines() if line.startswith(f"| `{PREFIX}")]
    documented = {(row[0].strip("| `"), row[1].strip("`"), row[2].strip("`–")) for row in rows}
    declared = {
        (
            PREFIX + re.sub(r"<number:(\w+)>", r"{\1}", route.path),
            route.method,
            route.role.value if route.role else "",
        )
        for route in declared_routes().values()
        if not route.hidden
    }
    assert documented == declared


def test_the_keys_of_a_file_and_of_a_rule_are_documented() -> None:
    assert set(form_of(File).model_fields) <= first_cells("docs/http.md")
    assert set(KEYS) <= first_cells("docs/rules.md")
    assert all(reason.value in read("docs/http.md") for reason in WaitReason)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            other = page if not name else (page.parent / name).resolve()
            assert other.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(other), f"{page.name}: {target}"


def test_what_the_code_cites_exists() -> None:
    for source in SOURCES:
        for page, title in _CITATION.findall(source.read_text(encoding="utf-8")):
            path = DOCS / f"{page}.md"
            assert path.exists(), f"{source}: docs/{page}.md"
            titles = {name.replace("`", "") for name in _HEADING.findall(path.read_text(encoding="utf-8"))}
            bare = {re.sub(r"^\d+\. ", "", name) for name in titles}
            assert not title or any(name.startswith(title) for name in bare), f"{source}: {page}.md, {title}"


def test_rules_in_the_documentation_can_be_applied() -> None:
    found = 0
    for page in PAGES:
        for language, body in _FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "toml" and "[[rules]]" in body:
                assert parse_rules(body)
                found += 1
            elif language == "toml":
                tomllib.loads(body)
    assert found >= 3


def test_the_readme_stays_short_and_the_pages_few() -> None:
    assert len(read("README.md").splitlines()) <= 150
    assert len(list(DOCS.glob("*.md"))) <= 12


def texts_of(source: Path) -> list[tuple[int, str]]:
    """Every text in a module that may reach a user, with its line; not its docstrings, which are for its readers.

    (Those of the API's views are what OpenAPI says.)
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    loose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if source.name == "resources.py" or id(node) not in loose
    ]


def test_what_users_read_is_in_plain_words() -> None:
    sources = [path for path in SOURCES if path.is_relative_to(ROOT / "service")]
    shown = [(f"{path}:{line}", text) for path in sources for line, text in texts_of(path)]
    for page in PAGES:
        lines = _FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()
        shown += [(page.name, line) for line in lines]
    found = [f"{where}: {text}" for where, text in shown if _HARD_TO_READ.search(text)]
    assert not found, "\n".join(found)


def test_what_is_shown_names_settings_in_full() -> None:
    names = "|".join(sorted(setting_names(), key=len, reverse=True))
    short = re.compile(rf"(?<![A-Z_])(?:{names})(?![A-Z_]| setting)")
    elsewhere = (ROOT / "service" / "settings", ROOT / "service" / "sandbox")  # (the one writes the prefix before it)
    sources = [path for path in SOURCES if path.is_relative_to(ROOT / "service") and path.parent not in elsewhere]
    shown = [(path, line, text) for path in sources for line, text in texts_of(path) if " " in text]
    found = [f"{path}:{line}: {text}" for path, line, text in shown if short.search(text) and text != "NOTIFY: URL "]
    assert not found, "\n".join(found)


def outline_of(name: str) -> dict[str, object]:
    """What the README has in each language: what is to be typed, what leads elsewhere, and how much of everything."""
    text = read(name)
    prose = _FENCE.sub("", text)
    lines = prose.splitlines()
    return {
        "headings": [line.partition(" ")[0] for line in lines if line.startswith("#")],
        "blocks": [(language, re.sub(r"[ \t]*#.*", "", body)) for language, body in _FENCE.findall(text)],
        "commands and settings": set(re.findall(r"`([^`]+)`", " ".join(prose.split()))),
        "links": sorted(target for target in _LINK.findall(prose) if target not in READMES),
        "rows": [table.count("\n") for table in re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE)],
        "points": [mark for line in lines for mark in re.findall(r"^(?:- |\d\. |\*\*\d\.)", line)],
    }


def test_the_readme_is_the_same_in_both_languages() -> None:
    english, chinese = READMES
    assert f"]({chinese})" in "".join(read(english).splitlines()[:4])
    assert f"]({english})" in "".join(read(chinese).splitlines()[:4])
    assert outline_of(chinese) == outline_of(english)


def test_the_pictures_of_the_readme_are_light() -> None:
    pictures = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in DOCS.glob("images/*.png")}
    for name in READMES:
        assert set(re.findall(r'src="(docs/images/[^"]+)"', (ROOT / name).read_text())) == pictures.keys()
    assert max(pictures.values()) <= MAX_PICTURE_BYTES
