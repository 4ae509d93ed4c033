"""The documentation tells everything that the code offers, and nothing else: the lists are derived from the code."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from service.cli.entry import PROGRAM, cli
from service.cli.invocation import ExitCode
from service.core import rules_file
from service.core.chain import Entry, Head
from service.core.durations import format_duration, format_keep
from service.core.model import FileState, Outcome, Role, Vendor, Verdict
from service.db.models import AttemptRow, CallbackRow, CallRow, ListingState, MediaFileRow, RunState, Trigger
from service.db.order_models import ErasureRow, HoldRow, PlanRow, PlanState, TokenRow
from service.settings import AppSettings, SettingsError, load_settings, setting_names
from service.usecases.auditing import AuditAction, Verified, entry_as_json
from service.usecases.breaking import plan_as_json
from service.usecases.diagnosis import Status
from service.usecases.erasing import erasure_as_json
from service.usecases.explaining import Explanation
from service.usecases.holding import hold_as_json
from service.usecases.inventory import attempt_as_json, file_as_json
from service.usecases.listing import callback_as_json
from service.usecases.reports import KeptBack
from service.usecases.run_details import call_as_json
from service.usecases.tokens import token_as_json
from service.web.api.build import declared_routes
from service.web.api.rule_forms import AppliedRules, Forecast
from service.web.api.run_forms import Approval, Totals
from service.web.app import create_app
from service.web.metrics import metric_names
from tests.world import START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
GUIDES = [README, *sorted(DOCS.glob("*.md"))]
SOURCES = [path for folder in ("service", "migrations", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
SECRETS = ("ADMIN_TOKEN", "CALLBACK_SECRET", "DATABASE_URL", "SERVER_SECRET")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


# Reading pages


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_fences(text: str) -> str:
    return _FENCE.sub("", text)


def fences(page: Path, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(read(page)) if kind == language]


def headings(page: Path) -> list[str]:
    return [title.replace("`", "") for _, title in _HEADING.findall(without_fences(read(page)))]


def section(page: Path, title: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    text = _FENCE.sub(lambda fence: fence[0].replace("\n#", "\n #"), read(page))
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"{page.name} has no section {title!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the tables whose first column has this head, as cells."""
    found: list[list[str]] = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip()[1:-1].split(" | ")] for line in block.strip().splitlines()]
        if rows[0][0] == head:
            found += rows[2:]
    assert found, f"there is no table of {head}"
    return found


def first_column(text: str, head: str) -> list[str]:
    """The names in code in the first column of such tables."""
    return [name for row in table(text, head) for name in _CODE.findall(row[0])]


def slug(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# Settings


def test_readme_lists_every_setting_and_no_other() -> None:
    assert sorted(first_column(section(README, "Settings"), "name")) == sorted(setting_names())


def test_settings_page_lists_every_setting_and_no_other() -> None:
    assert sorted(first_column(section(DOCS / "settings.md", "All settings"), "name")) == sorted(setting_names())


def test_settings_page_tells_the_default_that_holds() -> None:
    rows = table(section(DOCS / "settings.md", "All settings"), "name")
    told = {row[0].strip("`"): _as_day(row[1].strip("`")) for row in rows}
    assert told == {name: _default(name.lower()) for name in setting_names()}


def _as_day(text: str) -> str:
    """A day is a day, but "24h" is easier to compare with the hours around it."""
    return "1d" if text == "24h" else text


def _default(name: str) -> str:
    value = getattr(load_settings({}), name, None)
    if isinstance(value, timedelta):
        return format_duration(value)
    if name == "history_keep":
        return format_keep(value)
    return "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("secret", SECRETS)
def test_settings_page_names_the_file_of_each_secret(secret: str, tmp_path: Path) -> None:
    assert f"`{secret}_FILE`" in section(DOCS / "settings.md", "Secrets in files")
    with pytest.raises(SettingsError, match="cannot read"):  # the setting exists, though its file does not
        load_settings({f"ZEGO_RETENTION_{secret}_FILE": str(tmp_path / "missing")})


def test_settings_page_lists_every_key_of_an_app_and_its_default() -> None:
    rows = table(section(DOCS / "settings.md", "Several apps"), "key")
    told = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert told.keys() == AppSettings.model_fields.keys()
    for name in ("is_test", "clear_cache", "calls_per_second"):
        default = AppSettings.model_fields[name].default
        assert told[name] == ("unset" if default is None else str(default).lower())


# Words of the code


@pytest.mark.parametrize(
    ("page", "title", "head", "words"),
    [
        (README, "What the words mean", "state of a file", FileState),
        (DOCS / "states.md", "File states", "state", FileState),
        (DOCS / "states.md", "Run states", "state", RunState),
        (DOCS / "states.md", "Run states", "trigger", Trigger),
        (DOCS / "states.md", "Plan states", "state", PlanState),
        (DOCS / "reconcile.md", "Listings", "state", ListingState),
        (DOCS / "outcomes.md", "Outcomes", "outcome", Outcome),
        (DOCS / "callbacks.md", "Verdicts", "verdict", Verdict),
        (DOCS / "cli.md", "doctor", "status", Status),
        (DOCS / "audit.md", "Actions", "action", AuditAction),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "stem", None) or value.__name__,
)
def test_table_tells_every_word_and_no_other(page: Path, title: str, head: str, words: type[StrEnum]) -> None:
    assert sorted(first_column(section(page, title), head)) == sorted(word.value for word in words)


def test_every_action_that_is_written_into_the_audit_is_known_and_no_other() -> None:
    written = {action for path in (ROOT / "service").rglob("*.py") for action in actions(path)}
    assert sorted(written) == sorted(action.value for action in AuditAction)


def actions(path: Path) -> Iterator[str]:
    """The actions that a module writes into the audit; one that a function is given is looked for at its callers."""
    tree = ast.parse(read(path))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for call in calls_of(function, "add_entry"):
            if isinstance(call.args[2], ast.Name):
                position = [argument.arg for argument in function.args.args].index(call.args[2].id)
                yield from (word(each.args[position]) for each in calls_of(tree, function.name))
            else:
                yield word(call.args[2])


def calls_of(tree: ast.AST, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if name in (getattr(call.func, "attr", None), getattr(call.func, "id", None))]


def word(node: ast.expr) -> str:
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


def test_every_outcome_has_a_row_in_what_an_answer_means() -> None:
    rows = table(section(DOCS / "outcomes.md", "What an answer means"), "answer")
    assert {row[1].strip("`") for row in rows} == {outcome.value for outcome in Outcome}


@pytest.mark.parametrize(
    ("page", "title", "head"),
    [(README, "What the words mean", "exit code"), (DOCS / "cli.md", "Exit codes", "code")],
)
def test_exit_codes_are_told(page: Path, title: str, head: str) -> None:
    assert [int(row[0]) for row in table(section(page, title), head)] == sorted(ExitCode)


def test_rules_page_lists_the_keys_of_rules_and_matches() -> None:
    rules = DOCS / "rules.md"
    assert sorted(first_column(section(rules, "Keys of a rule"), "key")) == sorted(rules_file._RULE_KEYS)
    assert sorted(first_column(section(rules, "Keys of a match"), "key")) == sorted(rules_file._MATCH_KEYS)
    values = _CODE.findall(section(rules, "Keys of a match"))
    assert set(values) >= {*rules_file.EVENTS, *(vendor.value for vendor in Vendor)}


def test_metrics_page_lists_every_metric_and_no_other() -> None:
    assert sorted(first_column(section(DOCS / "metrics.md", "Metrics"), "metric")) == sorted(metric_names())


def test_metrics_in_other_pages_exist() -> None:
    mentioned = {name for page in GUIDES for name in re.findall(r"\bzego_retention_[a-z_]+", read(page))}
    assert mentioned <= metric_names().keys()


def test_http_page_lists_every_route_and_no_other(tmp_path: Path) -> None:
    app = create_app(load_settings({"ZEGO_RETENTION_DATABASE_URL": f"sqlite:///{tmp_path / 'docs.db'}"}))
    offered = {
        (_as_written(rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - _SELF_EVIDENT
    }
    rows = table(read(DOCS / "http.md"), "path")
    assert {(row[0].strip("`"), row[1].strip("`")) for row in rows} == offered


def test_http_page_tells_the_role_that_each_route_takes() -> None:
    rows = table(section(DOCS / "http.md", "The API"), "path")
    told = {(row[0].strip("`"), row[1].strip("`")): row[2].strip("`–") for row in rows}
    routes = declared_routes().values()
    assert told == {(_as_written(f"/api/v1{route.path}"), route.method): route.role or "" for route in routes}


def test_api_page_tells_every_status_that_a_route_answers_with() -> None:
    told = {int(status) for status in first_column(section(DOCS / "api.md", "Errors"), "status")}
    assert told == {status for route in declared_routes().values() for status in route.statuses if status >= 400}


def _as_written(rule: str) -> str:
    return rule.replace("<number:number>", "{number}")


_SELF_EVIDENT = {"HEAD", "OPTIONS"}


# JSON forms


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("A file", file_as_json(MediaFileRow(vendor=Vendor.HUAWEI, state=FileState.KEPT, last_outcome=Outcome.GONE))),
        ("An attempt", attempt_as_json(AttemptRow())),
        ("An explanation", dict.fromkeys(field.name for field in fields(Explanation))),
        ("A hold", hold_as_json(HoldRow())),
        ("An erasure", erasure_as_json(ErasureRow())),
        ("A callback", callback_as_json(CallbackRow(verdict=Verdict.STALE))),
        ("A run", call_as_json(CallRow(vendor=Vendor.TENCENT))),
        ("A plan", plan_as_json(PlanRow(state=PlanState.OPEN)) | {"files": []}),
        ("A sweep", KeptBack(0, None, 0, {}).as_json()),
        ("An audit entry", entry_as_json(Entry(1, START, "", "", "", "", "{}"), None)),
        ("An audit entry", Verified(Head(0, ""), 0, None).as_json()),
        ("Totals", dict.fromkeys(Totals.model_fields)),
        ("A forecast", dict.fromkeys(Forecast.model_fields)),
        ("A change of rules", dict.fromkeys(AppliedRules.model_fields)),
        ("A request for a pass", dict.fromkeys(Approval.model_fields)),
        ("A token", token_as_json(TokenRow(role=Role.VIEWER)) | {"token": ""}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_json_page_tells_every_key(title: str, keys: dict[str, Any]) -> None:
    told = set(_CODE.findall(section(DOCS / "api.md", title)))
    wanted = keys.keys() | (keys.get("last_outcome") or {}).keys()
    assert wanted - told == set()


# Commands


def commands(group: click.Group = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_cli_page_tells_every_command_with_its_options_and_no_other() -> None:
    told = {_path(row[0]): set(_CODE.findall(row[1])) for row in table(read(DOCS / "cli.md"), "command")}
    offered = {
        path: {spelling for option in command.params if isinstance(option, click.Option) for spelling in option.opts}
        for path, command in commands()
    }
    assert told == offered


def _path(cell: str) -> str:
    """The command that a table's cell names, without its arguments."""
    return " ".join(word for word in cell.strip("`").split() if word.islower())


def test_cli_page_tells_the_options_of_the_program_itself() -> None:
    options = [spelling for option in cli.params for spelling in option.opts] + ["-h", "--help"]
    text = read(DOCS / "cli.md")
    assert [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)] == []


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every command line of this program in a fenced block, as words after the program's name."""
    for page in PAGES:
        for line in "".join(fences(page, "sh")).splitlines():
            words = shlex.split(line, comments=True)
            names = [word.rpartition("/")[2] for word in words]
            if PROGRAM in names:
                yield f"{page.name}: {line}", words[names.index(PROGRAM) + 1 :]


@pytest.mark.parametrize("words", [pytest.param(words, id=where) for where, words in command_lines()])
def test_command_lines_in_fenced_blocks_parse(words: list[str]) -> None:
    command, rest = resolve(words)
    assert not isinstance(command, click.Group)
    command.make_context(PROGRAM, rest)


def test_there_are_command_lines_to_try() -> None:
    assert len(list(command_lines())) > 20  # else the test above looks at nothing


def test_commands_named_in_prose_and_in_messages_exist() -> None:
    texts = [(page, without_fences(read(page))) for page in PAGES] + [(path, read(path)) for path in SOURCES]
    for where, text in texts:
        for line in re.findall(rf"`{PROGRAM} ([a-z][^`\n]*)`", text):
            command, rest = resolve(re.split(r"[\s,]+", line.replace('"', " ").strip()))
            options = {spelling for option in command.params for spelling in option.opts} | {"--help"}
            unknown = [word for word in rest if word.startswith("-") and word not in options]
            assert not unknown, f"{where.name}: `{PROGRAM} {line}`"


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Find the command that these words call; the words that follow it."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-") and rest[0] != "COMMAND":
        assert rest[0] in command.commands, f"there is no command {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    return command, rest


# Examples


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_fenced_toml_is_a_rules_file_or_settings(page: Path) -> None:
    known = {name.lower() for name in setting_names()} | {f"{name.lower()}_file" for name in SECRETS}
    app_keys = AppSettings.model_fields.keys() | {"server_secret_file", "callback_secrets_file"}
    for text in fences(page, "toml"):
        written = tomllib.loads(text)
        if "rules" in written:
            assert rules_file.parse_rules(text)
        else:
            assert written.keys() <= known | {"apps"}
            assert all(app.keys() <= app_keys for app in written.get("apps", []))


def test_there_are_rules_to_try() -> None:
    assert sum("[[rules]]" in text for page in GUIDES for text in fences(page, "toml")) > 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_in_fenced_blocks_are_settings(page: Path) -> None:
    known = {*setting_names(), *(f"{name}_FILE" for name in SECRETS), "CONFIG"}
    text = "".join(body for _, body in _FENCE.findall(read(page)))
    assert set(re.findall(r"\bZEGO_RETENTION_([A-Z_]+)", text)) <= known


# Links and citations


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.is_file(), f"{page.name} links to {target}"
        assert not anchor or anchor in map(slug, headings(other)), f"{page.name} links to {target}"


def citations(text: str) -> list[tuple[str, list[str]]]:
    """Pages of docs/ that a source cites, each with the sections named behind it."""
    flowing = re.sub(r"\n[ \t]*(?:# ?)?", " ", text)
    found = re.findall(r'\bdocs/([\w-]+\.md)((?:(?:,| and)+ "[^"]+")*)', flowing)
    return [(page, re.findall(r'"([^"]+)"', titles)) for page, titles in found]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_citations_in_sources_lead_somewhere(path: Path) -> None:
    for page, titles in citations(read(path)) if path != Path(__file__) else []:
        assert (DOCS / page).is_file(), f"{path.name} cites docs/{page}"
        assert set(titles) <= set(headings(DOCS / page)), f"{path.name} cites {titles} of docs/{page}"


def test_citations_are_found_across_lines_and_with_several_sections() -> None:
    text = '"""Asks (docs/protocol.md,\n    "One" and "Two").\n# docs/rules.md: more'
    assert citations(text) == [("protocol.md", ["One", "Two"]), ("rules.md", [])]


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", read(README)))
    assert linked == {page.name for page in DOCS.glob("*.md")}
