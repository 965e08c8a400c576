"""The Helm chart, through Helm itself: linted, rendered with several values, and the objects that come out read.

Helm is looked for in the PATH and where .ci/run puts it. Without it these tests are skipped; with CI=true they fail.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace import __version__
from tailrace.cli.main import parser
from tailrace.configuration import load

CHART = Path(__file__).parents[2] / "deploy/helm/tailrace"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace/bin"
GRACE_SECONDS = 10


@functools.cache
def helm() -> str:
    found = shutil.which("helm", path=f"{os.environ.get('PATH', '')}:{CACHE}")
    if found is None:
        reason = "the chart's tests need Helm 3 (go install helm.sh/helm/v3/cmd/helm@v3.19.2)"
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)


def rendered(*settings: str) -> dict[str, Any]:
    """The objects by kind."""
    options = [word for setting in settings for word in ("--set-json", setting)]
    done = run("template", "release", CHART, "--kube-version", "1.31.0", *options)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert len({each["kind"] for each in objects}) == len(objects)
    return {each["kind"]: each for each in objects}


def pod(objects: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


def container(objects: dict[str, Any]) -> dict[str, Any]:
    [found] = pod(objects)["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return rendered()


EVERYTHING = (
    "ingress={'enabled':true,'hosts':['live.example.org'],'className':'nginx','tls':[{'hosts':['live.example.org']}]}",
    "podMonitor={'enabled':true,'labels':{'release':'prometheus'}}",
    "environment=[{'name':'TAILRACE_AUTH__SECRET','value':'x'}]",
    "environmentFrom=[{'secretRef':{'name':'kafka'}}]",
    "volumes=[{'name':'tls','secret':{'secretName':'tls'}}]",
    "volumeMounts=[{'name':'tls','mountPath':'/tls'}]",
    "podAnnotations={'a':'b'}",
    "podLabels={'team':'live'}",
    "nodeSelector={'a':'b'}",
    "tolerations=[{'key':'a'}]",
    "affinity={'podAntiAffinity':{}}",
    "topologySpreadConstraints=[{'maxSkew':1}]",
    "imagePullSecrets=[{'name':'a'}]",
    "workers=4",
)


def test_helm_finds_no_fault() -> None:
    done = run("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_gateways() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_the_gateway_takes_the_configuration(objects: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "tailrace.toml"
    file.write_text(objects["ConfigMap"]["data"]["tailrace.toml"])
    config = load(file=str(file))
    assert config.topics.keys() == {"orders"}
    assert pod(objects)["terminationGracePeriodSeconds"] >= config.shutdown.timeout + GRACE_SECONDS


def test_the_gateway_takes_the_arguments(objects: dict[str, Any]) -> None:
    found = container(objects)
    arguments = parser().parse_args(found["args"])
    [mount] = found["volumeMounts"]
    assert Path(arguments.config).parent == Path(mount["mountPath"])
    ports = {each["name"]: each["containerPort"] for each in found["ports"]}
    assert ports == {"public": int(arguments.listen[-4:]), "admin": int(arguments.admin[-4:])}


def test_the_probes_ask_the_admin_listener(objects: dict[str, Any]) -> None:
    found = container(objects)
    assert found["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}


def test_the_service_leads_to_the_pods_and_not_to_the_admin_listener(objects: dict[str, Any]) -> None:
    service = objects["Service"]["spec"]
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert [port["targetPort"] for port in service["ports"]] == ["public"]


def test_it_runs_with_no_rights(objects: dict[str, Any]) -> None:
    assert pod(objects)["securityContext"]["runAsNonRoot"] is True
    assert pod(objects)["automountServiceAccountToken"] is False
    assert container(objects)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_another_configuration_is_another_pod(objects: dict[str, Any]) -> None:
    other = rendered('config="[topics.prices]"')
    key = "checksum/config"
    found = [each["Deployment"]["spec"]["template"]["metadata"]["annotations"][key] for each in (objects, other)]
    assert found[0] != found[1]


def test_everything_at_once() -> None:
    objects = rendered(*(setting.replace("'", '"') for setting in EVERYTHING))
    assert objects.keys() >= {"Ingress", "PodMonitor", "PodDisruptionBudget", "ServiceAccount"}
    [rule] = objects["Ingress"]["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": objects["Service"]["metadata"]["name"], "port": {"name": "http"}}
    assert objects["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"] == "admin"
    found = container(objects)
    assert found["env"] == [{"name": "TAILRACE_AUTH__SECRET", "value": "x"}]
    assert "--workers=4" in found["args"]
    assert len(found["volumeMounts"]) == len(pod(objects)["volumes"]) == 2


@pytest.mark.parametrize("setting", ["workers=0", 'replicas="two"', "nonsense=1", 'ingress={"enabled":true}'])
def test_faulty_values_are_refused(setting: str) -> None:
    done = run("template", "release", CHART, "--kube-version", "1.31.0", "--set-json", setting)
    assert done.returncode != 0
    assert setting.partition("=")[0] in done.stderr
