"""compose.yaml and the Kubernetes examples: what they name exists, and is what the image and the service have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from service import serve
from service.cli.commands import cli
from service.settings import Settings, load_settings
from service.settings.values import CALLBACK_PATH
from service.web.app import create_app
from tests.deploy.image import ROOT, read_dockerfile

DEPLOY = ROOT / "deploy"
IMAGE = read_dockerfile()[-1]
KUBERNETES = sorted(DEPLOY.glob("kubernetes-*.yaml"))
PROBES = ("livenessProbe", "readinessProbe")


def read_settings(variables: dict[str, str]) -> Settings:
    """The settings that the service makes of these variables, which it has to know and to find right."""
    settings = load_settings({"XDG_DATA_HOME": "/data", **variables})
    assert settings.warnings == ()
    return settings


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# --- Compose -----------------------------------------------------------------------------------------------------


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def example_env(*, with_postgresql: bool) -> dict[str, str]:
    text = (DEPLOY / "example.env").read_text(encoding="utf-8")
    pattern = r"^#?([A-Z_]+)=(.*)$" if with_postgresql else r"^([A-Z_]+)=(.*)$"
    return dict(re.findall(pattern, text, re.MULTILINE))


def test_its_example_of_settings_can_be_started_with_either_database(compose: dict[str, Any]) -> None:
    sqlite = read_settings(example_env(with_postgresql=False))
    assert sqlite.database_url.startswith("sqlite:")
    assert (sqlite.sweep_every, sqlite.keep) == (None, "30d"), "it looks first"
    assert sqlite.trusted_proxies == 1
    variables = example_env(with_postgresql=True)
    url = read_settings(variables).database_url
    postgres = compose["services"]["postgres"]["environment"]
    user, password, database = postgres["POSTGRES_USER"], variables["POSTGRES_PASSWORD"], postgres["POSTGRES_DB"]
    assert url.partition("://")[2] == f"{user}:{password}@postgres/{database}"
    assert [variables["COMPOSE_PROFILES"]] == compose["services"]["postgres"]["profiles"]


def test_its_service_is_closed_and_has_time_to_stop(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("retention", "migrate"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == [f"data:{IMAGE.last('VOLUME')}"]
        assert service["command"][0] in cli.list_commands(click.Context(cli))
        build = service["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert services["retention"]["ports"] == [f"127.0.0.1:{IMAGE.last('EXPOSE')}:{IMAGE.last('EXPOSE')}"]
    assert seconds(services["retention"]["stop_grace_period"]) > serve._MAX_STOPPING_S
    volumes = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert volumes == set(compose["volumes"])


def test_its_database_is_ready_and_migrated_before_the_service(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["retention"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["retention"]["depends_on"]["migrate"]["required"] is False, "not there with SQLite"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["migrate"]["profiles"] == services["postgres"]["profiles"]
    assert "profiles" not in services["retention"]


# --- Kubernetes --------------------------------------------------------------------------------------------------


def objects(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pods(path: Path) -> dict[str, dict[str, Any]]:
    workloads = ("Deployment", "StatefulSet")
    return {name: each["spec"] for (kind, name), each in objects(path).items() if kind in workloads}


def containers(path: Path) -> list[dict[str, Any]]:
    specs = [workload["template"]["spec"] for workload in pods(path).values()]
    return [each for spec in specs for each in [*spec.get("initContainers", []), *spec["containers"]]]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_their_settings_can_be_started(path: Path) -> None:
    found = objects(path)
    variables: dict[str, str] = {}
    for container in containers(path):
        for source in container["envFrom"]:
            [(reference, name)] = ((kind, each["name"]) for kind, each in source.items())
            held = found["ConfigMap" if reference == "configMapRef" else "Secret", name]
            variables |= held.get("data", {}) | held.get("stringData", {})
    assert all(isinstance(value, str) for value in variables.values())
    settings = read_settings(variables | {k: v for k, v in IMAGE.environment.items() if k.startswith("ZEGO_")})
    assert (len(settings.apps), settings.trusted_proxies) == (1, 1)
    assert settings.sweep_every is None, "it looks first"
    assert settings.database_url.startswith(path.stem.rpartition("-")[2])
    data = found["ConfigMap", "zego-retention"]["data"]
    assert not [name for name in data if "SECRET" in name or "DATABASE_URL" in name]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_their_ports_and_probes_are_those_of_the_service(path: Path, sqlite_url: str) -> None:
    app = create_app(load_settings({"ZEGO_RETENTION_DATABASE_URL": sqlite_url}))
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    commands = set(cli.list_commands(click.Context(cli)))
    for container in containers(path):
        assert container["args"][0] in commands
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        assert all(str(port) == IMAGE.last("EXPOSE") for port in ports.values())
        for probe in (container[name] for name in PROBES if name in container):
            if "exec" in probe:
                program, command, *_ = probe["exec"]["command"]
                assert ([program], command in commands) == (IMAGE.command, True)
            else:
                assert probe["httpGet"]["path"] in routes
                assert probe["httpGet"]["port"] in ports
        if "livenessProbe" in container:
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    app.extensions["zego-retention"].close()


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_their_pods_are_closed_and_have_time_to_stop(path: Path) -> None:
    owner, group = map(int, IMAGE.last("USER").split(":"))
    for name, workload in pods(path).items():
        spec = workload["template"]["spec"]
        rights = spec["securityContext"]
        assert (rights["runAsUser"], rights["runAsGroup"], rights["fsGroup"]) == (owner, group, group), name
        assert rights["runAsNonRoot"]
        assert spec["terminationGracePeriodSeconds"] > serve._MAX_STOPPING_S
        assert spec["automountServiceAccountToken"] is False
        claims = {each["metadata"]["name"] for each in workload.get("volumeClaimTemplates", [])}
        volumes = {each["name"] for each in spec.get("volumes", [])} | claims
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            inner = container["securityContext"]
            assert (inner["readOnlyRootFilesystem"], inner["allowPrivilegeEscalation"]) == (True, False)
            assert inner["capabilities"] == {"drop": ["ALL"]}
            [mount] = container["volumeMounts"]
            assert (mount["mountPath"], mount["name"] in volumes) == (IMAGE.last("VOLUME"), True)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_what_they_refer_to_is_there(path: Path) -> None:
    found = objects(path)
    labels = []
    for workload in pods(path).values():
        own = workload["template"]["metadata"]["labels"]
        assert workload["selector"]["matchLabels"] == own
        labels.append(own)
        for volume in workload["template"]["spec"].get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in found
    for (kind, _), each in found.items():
        if kind == "Service":
            assert each["spec"]["selector"] in labels
            assert each["spec"]["ports"][0]["targetPort"] == "http"
        if kind == "PodDisruptionBudget":
            assert each["spec"]["selector"]["matchLabels"] in labels
        if kind == "Ingress":
            [route] = each["spec"]["rules"][0]["http"]["paths"]
            assert route["path"] == CALLBACK_PATH
            assert ("Service", route["backend"]["service"]["name"]) in found


def test_on_sqlite_there_is_one_pod_and_never_two_at_once() -> None:
    [workload] = pods(DEPLOY / "kubernetes-sqlite.yaml").values()
    assert (workload["replicas"], workload["strategy"]["type"]) == (1, "Recreate")
    [container] = workload["template"]["spec"]["containers"]
    assert container["args"] == ["serve"]


def test_on_postgresql_web_and_worker_stand_apart_and_are_migrated_first() -> None:
    found = pods(DEPLOY / "kubernetes-postgresql.yaml")
    commands = set()
    for workload in found.values():
        assert workload["replicas"] == 2
        [migrate] = workload["template"]["spec"]["initContainers"]
        assert migrate["args"] == ["migrate"]
        commands.add(workload["template"]["spec"]["containers"][0]["args"][0])
    assert commands == {"web", "worker"}
