"""The chart as helm 3 and helm 4 render it. Nothing here needs a cluster."""

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from ngshare import __version__
from ngshare.hub import MALLOC
from tests.helm.kube_api import kube_api
from tests.require import require

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "ngshare"
DOCS = ROOT / "docs" / "install-kubernetes.md"
HELM_DIR = Path(os.environ.get("NGSHARE_HELM_DIR") or Path.home() / ".cache" / "ngshare" / "helm")

TOKEN = "a-token-that-must-stay-in-the-secret"
SCOPE = "access:services!service=ngshare"

Values = dict[str, Any]


class Rendered:
    """What would be installed. A part that is not there is empty."""

    def __init__(self, output: str) -> None:
        documents = [document for document in yaml.safe_load_all(output) if document]
        self.manifests = {document["kind"]: document for document in documents}
        assert len(self.manifests) == len(documents), "the chart has one of each kind"
        self.deployment: Values = self.manifests["Deployment"]
        self.pod: Values = self.deployment["spec"]["template"]["spec"]
        self.container: Values = self.pod["containers"][0]
        self.env = {
            entry["name"]: entry.get("value", entry.get("valueFrom"))
            for entry in self.container["env"]
        }
        self.service: Values = self.manifests["Service"]
        self.claim: Values = self.manifests.get("PersistentVolumeClaim", {})
        self.secret: Values = self.manifests.get("Secret", {})

    @property
    def token(self) -> str:
        return base64.b64decode(self.secret["data"]["token"]).decode()

    def at(self, place: str) -> Any:
        """What stands at a place such as `pod.volumes.0.name`, or None."""
        part, *keys = place.split(".")
        here = getattr(self, part)
        for key in keys:
            here = here[int(key)] if isinstance(here, list) else (here or {}).get(key)
        return here

    def validate(self) -> None:
        try:
            from kubernetes_validate import validate
        except ImportError:
            validate = None
        require(validate is not None, "kubernetes-validate", "pip install '.[test]'")
        for manifest in self.manifests.values():
            validate(manifest, "1.35", strict=True)
        # A list with a key, which helm 4 applies on the server: twice the same is refused there.
        assert len(self.env) == len(self.container["env"])


class Helm:
    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def run(self, *args: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, *args, "--namespace", "edu", "--values", "-"],
            input=json.dumps(values or {}),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def output(self, verb: str, *args: str, values: Values | None = None) -> str:
        done = self.run(verb, "class-2027", str(CHART), *args, values=values)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def render(self, values: Values | None = None, *args: str) -> Rendered:
        return Rendered(self.output("template", *args, values=values))

    def refusal(self, values: Values) -> str:
        done = self.run("template", "class-2027", str(CHART), values=values)
        assert done.returncode != 0, "helm rendered what it should refuse"
        return done.stderr

    def notes(self, values: Values | None = None) -> str:
        with kube_api() as url:
            output = self.output("install", "--output", "json", *asking(url), values=values)
        return json.loads(output)["info"]["notes"]


def asking(url: str) -> list[str]:
    return ["--dry-run=server", "--kube-apiserver", url, "--disable-openapi-validation"]


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> Helm:
    binary = HELM_DIR / request.param
    require(binary.exists(), request.param, "run .ci/get-helm")
    return Helm(binary)


def nested(name: str, value: Any) -> Values:
    for key in reversed(name.split(".")):
        value = {key: value}
    return value


EXISTS = [{"key": "exam", "operator": "Exists"}]
TERMS = {"nodeSelectorTerms": [{"matchExpressions": EXISTS}]}
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": TERMS}}
INIT = [{"name": "chown", "image": "busybox"}]
LIMITS = {"limits": {"cpu": 2}}
MATCH = {"matchLabels": {"a": "b"}}
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}
DATABASE = "postgresql://ngshare:hunter2@db/ngshare"
DATABASE64 = base64.b64encode(DATABASE.encode()).decode()
TOKEN64 = base64.b64encode(TOKEN.encode()).decode()

# The values that existing installations set: name, a value, where it arrives, and as what.
VALUES = [
    ("image.repository", "example.edu/n", "container.image", f"example.edu/n:{__version__}"),
    ("image.tag", "v9", "container.image", "ngshare:v9"),
    ("image.pullPolicy", "Always", "container.imagePullPolicy", "Always"),
    ("image.imagePullSecrets", ["a"], "pod.imagePullSecrets", [{"name": "a"}]),
    ("image.imagePullSecrets", [{"name": "a"}], "pod.imagePullSecrets", [{"name": "a"}]),
    ("deployment.replicaCount", 0, "deployment.spec.replicas", 0),
    ("deployment.strategy", ROLLING, "deployment.spec.strategy", ROLLING),
    ("deployment.port", 9000, "container.ports.0.containerPort", 9000),
    ("deployment.port", 9000, "service.spec.ports.0.port", 9000),
    ("deployment.port", 9000, "env.JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:9000"),
    ("deployment.fsGroup", 1000650000, "pod.securityContext.fsGroup", 1000650000),
    ("deployment.fsGroup", None, "pod.securityContext.fsGroup", None),
    ("deployment.resources", LIMITS, "container.resources", LIMITS),
    ("deployment.selectorLabels", {"a": "b"}, "deployment.spec.selector.matchLabels.a", "b"),
    ("deployment.selectorLabels", {"a": "b"}, "deployment.spec.template.metadata.labels.a", "b"),
    ("deployment.selectorLabels", {"a": "b"}, "service.spec.selector.a", "b"),
    ("deployment.nodeSelector", {"a": "b"}, "pod.nodeSelector", {"a": "b"}),
    ("deployment.tolerations", EXISTS, "pod.tolerations", EXISTS),
    ("deployment.affinity", AFFINITY, "pod.affinity", AFFINITY),
    ("deployment.initContainers", INIT, "pod.initContainers", INIT),
    ("ngshare.admins", ["ann", "bob"], "container.args", ["--admins", "ann,bob"]),
    ("ngshare.admins", "ann,bob", "container.args", ["--admins", "ann,bob"]),
    ("ngshare.debug", True, "container.args", ["--debug"]),
    ("ngshare.upgrade_db", False, "container.args", ["--no-upgrade-db"]),
    ("ngshare.args", ["--threads", "4"], "container.args", ["--threads", "4"]),
    ("ngshare.hub_api_url", "http://h/hub/api", "env.JUPYTERHUB_API_URL", "http://h/hub/api"),
    ("ngshare.hub_base_url", "/jh/", "env.JUPYTERHUB_BASE_URL", "/jh/"),
    ("ngshare.oauth_client_id", "service-x", "env.JUPYTERHUB_CLIENT_ID", "service-x"),
    ("ngshare.env", {"TZ": "UTC"}, "env.TZ", "UTC"),
    ("ngshare.env", [{"name": "TZ", "value": "UTC"}], "env.TZ", "UTC"),
    ("ngshare.hub_api_token", TOKEN, "secret.data.token", TOKEN64),
    ("ngshare.database_url", DATABASE, "secret.data.database", DATABASE64),
    (
        "ngshare.databaseSecret",
        "db",
        "env.NGSHARE_DATABASE",
        {"secretKeyRef": {"name": "db", "key": "url"}},
    ),
    ("pvc.storage", "2Ti", "claim.spec.resources.requests.storage", "2Ti"),
    ("pvc.annotations", {"a": "b"}, "claim.metadata.annotations.a", "b"),
    ("pvc.selector", MATCH, "claim.spec.selector", MATCH),
    ("pvc.storageClassName", "fast", "claim.spec.storageClassName", "fast"),
    ("pvc.storageClassName", "", "claim.spec.storageClassName", ""),
    ("pvc.accessModes", ["ReadWriteMany"], "claim.spec.accessModes", ["ReadWriteMany"]),
    ("nameOverride", "exchange", "deployment.metadata.name", "class-2027-exchange"),
    ("fullnameOverride", "exchange", "service.metadata.name", "exchange"),
]


@pytest.mark.parametrize(("name", "value", "place", "expected"), VALUES)
def test_a_value_arrives(helm: Helm, name: str, value: Any, place: str, expected: Any) -> None:
    changed = helm.render(nested(name, value))
    changed.validate()
    arrived = changed.at(place)
    assert arrived == expected
    assert type(arrived) is type(expected), "Kubernetes refuses 1e+09 where it wants an integer"
    assert helm.render().at(place) != expected


def test_the_chart_is_clean(helm: Helm) -> None:
    done = helm.run("lint", str(CHART), "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_default_is_valid_for_kubernetes(helm: Helm) -> None:
    rendered = helm.render()
    kinds = {"Deployment", "Service", "Secret", "PersistentVolumeClaim"}
    assert set(rendered.manifests) == kinds
    rendered.validate()


def test_more_than_one_replica_is_refused_and_it_says_why(helm: Helm) -> None:
    refusal = helm.refusal({"deployment": {"replicaCount": 2}})
    assert "deployment.replicaCount is 2" in refusal
    assert "two pods that write it at once can lose or damage submissions" in refusal
    assert "PostgreSQL" in refusal


MANY = {"accessModes": ["ReadWriteMany"]}


@pytest.mark.parametrize("pvc", [{}, {"existingClaim": "old"}])
def test_replicas_need_a_volume_that_all_can_mount(helm: Helm, pvc: Values) -> None:
    values = {"deployment": {"replicaCount": 2}, "ngshare": {"databaseSecret": "db"}, "pvc": pvc}
    refusal = helm.refusal(values)
    assert "deployment.replicaCount is 2" in refusal
    assert "pvc.accessModes is ReadWriteOnce" in refusal
    assert "all pods need the files of all" in refusal


def test_replicas_need_more_than_a_volume_that_all_can_mount(helm: Helm) -> None:
    refusal = helm.refusal({"deployment": {"replicaCount": 2}, "pvc": MANY})
    assert "one SQLite database" in refusal
    assert "ngshare.databaseSecret" in refusal


@pytest.mark.parametrize("database", [{"databaseSecret": "db"}, {"database_url": DATABASE}])
@pytest.mark.parametrize("pvc", [MANY, {**MANY, "existingClaim": "old"}])
def test_replicas_with_postgresql_on_a_volume_that_all_can_mount(
    helm: Helm, database: Values, pvc: Values
) -> None:
    values = {"deployment": {"replicaCount": 3}, "ngshare": database, "pvc": pvc}
    rendered = helm.render(values)
    rendered.validate()
    assert rendered.deployment["spec"]["replicas"] == 3


def test_the_database_in_a_secret_of_ones_own(helm: Helm) -> None:
    values = {"databaseSecret": "db", "databaseSecretKey": "uri"}
    rendered = helm.render({"ngshare": values})
    assert rendered.env["NGSHARE_DATABASE"] == {"secretKeyRef": {"name": "db", "key": "uri"}}
    assert rendered.secret["data"].keys() == {"token"}
    assert "both set" in helm.refusal({"ngshare": {**values, "database_url": DATABASE}})


@pytest.mark.parametrize("token", [{}, {"existingSecret": "hub"}])
def test_the_databases_password_appears_nowhere_but_in_the_secret(
    helm: Helm, token: Values
) -> None:
    values = {"ngshare": {"database_url": DATABASE, **token}}
    rendered = helm.render(values)
    rendered.validate()
    reference = {"secretKeyRef": {"name": "class-2027-ngshare", "key": "database"}}
    assert rendered.env["NGSHARE_DATABASE"] == reference
    assert rendered.secret["data"]["database"] == DATABASE64
    assert ("token" in rendered.secret["data"]) is not bool(token)
    manifests = rendered.manifests
    del manifests["Secret"]
    shown = json.dumps(manifests) + helm.notes(values)
    assert "hunter2" not in shown
    assert DATABASE64 not in shown


def test_another_database_restarts_the_pod(helm: Helm) -> None:
    templates = [
        helm.render({"ngshare": {"database_url": url}}).at("deployment.spec.template")
        for url in (DATABASE, f"{DATABASE}2")
    ]
    assert templates[0] != templates[1]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ngshare.admin", "ann", r"ngshare.*admin.*not allowed"),
        ("deployment.replicas", 1, r"deployment.*replicas.*not allowed"),
        ("replicaCount", 1, r"replicaCount.*not allowed"),
        ("deployment.port", "http", r"deployment.port.*(string.*integer|integer.*string)"),
        ("ngshare.debug", "false", r"ngshare.debug.*(string.*boolean|boolean.*string)"),
        ("ngshare.oauth_client_id", "ngshare", r"ngshare.oauth_client_id.*service-"),
        ("ngshare.env", [{"value": "x"}], r"ngshare.env.0.*name"),
        ("ngshare.database_url", "sqlite:////x.db", r"ngshare.database_url.*pattern"),
        ("ngshare.upgrade_db", None, r"ngshare.*upgrade_db"),
        ("pvc.storage", "10GB", r"pvc.storage.*pattern"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Helm, name: str, value: Any, said: str) -> None:
    refusal = helm.refusal(nested(name, value))
    assert "values don't meet the specifications of the schema" in refusal
    assert re.search(said, refusal), refusal


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("/", "/"),
        ("", "/"),
        ("/hub-base/", "/hub-base/"),
        ("hub-base", "/hub-base/"),
        ("/a/b", "/a/b/"),
    ],
)
def test_the_service_is_told_what_a_hub_tells(helm: Helm, written: str, base: str) -> None:
    assert helm.render({"ngshare": {"hub_base_url": written}}).env == {
        **MALLOC,
        "JUPYTERHUB_SERVICE_NAME": "ngshare",
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8080",
        "JUPYTERHUB_SERVICE_PREFIX": f"{base}services/ngshare/",
        "JUPYTERHUB_BASE_URL": base,
        "JUPYTERHUB_API_URL": f"http://hub:8081{base}hub/api",
        "JUPYTERHUB_API_TOKEN": {"secretKeyRef": {"name": "class-2027-ngshare", "key": "token"}},
        "JUPYTERHUB_CLIENT_ID": "service-ngshare",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps(["access:services", SCOPE]),
    }


def test_the_command_line(helm: Helm) -> None:
    container = helm.render().container
    assert (container["command"], container["args"]) == (["python3", "-m", "ngshare"], [])
    more = ["--storage", "/srv/ngshare/x/"]
    ngshare = {"admins": ["ann"], "debug": True, "upgrade_db": False, "args": more}
    args = helm.render({"ngshare": ngshare}).container["args"]
    assert args == ["--admins", "ann", "--debug", "--no-upgrade-db", *more]


def test_environment_variables_of_every_type(helm: Helm) -> None:
    node = {"fieldRef": {"fieldPath": "spec.nodeName"}}
    env = {"SIZE": 30000000, "ON": True, "TEXT": "1e3", "NODE": {"valueFrom": node}}
    rendered = helm.render({"ngshare": {"env": env}})
    rendered.validate()
    expected = {"SIZE": "30000000", "ON": "true", "TEXT": "1e3", "NODE": node}
    assert expected.items() <= rendered.env.items()


def test_malloc_is_set_up_as_for_a_service_that_the_hub_launches(helm: Helm) -> None:
    assert MALLOC.items() <= helm.render().env.items()
    image = (ROOT / "Dockerfile").read_text()
    assert f"ENV {' '.join(f'{name}={value}' for name, value in MALLOC.items())}\n" in image


@pytest.mark.parametrize("as_list", [False, True])
def test_an_environment_variable_replaces_that_of_the_chart(helm: Helm, as_list: bool) -> None:
    name, value = "JUPYTERHUB_SERVICE_URL", "http://[::]:8080"
    env = [{"name": name, "value": value}] if as_list else {name: value}
    rendered = helm.render({"ngshare": {"env": env}})
    rendered.validate()
    assert rendered.env[name] == value


def test_the_probes_ask_for_health_and_leave_time_for_a_migration(helm: Helm) -> None:
    container = helm.render().container
    for probe, path in (
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 20 * 60


def test_the_pod_may_do_nothing_that_it_need_not(helm: Helm) -> None:
    pod = helm.render().pod
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_only_the_data_and_the_temporary_folder_can_be_written(helm: Helm) -> None:
    rendered = helm.render()
    mounts = {mount["mountPath"]: mount["name"] for mount in rendered.container["volumeMounts"]}
    assert mounts == {"/srv/ngshare": "data", "/tmp": "tmp"}
    claim = {"claimName": rendered.claim["metadata"]["name"]}
    data, tmp = rendered.pod["volumes"]
    assert data == {"name": "data", "persistentVolumeClaim": claim}
    assert tmp == {"name": "tmp", "emptyDir": {}}


def test_the_service_finds_the_pod_and_the_pod_may_reach_the_hub(helm: Helm) -> None:
    rendered = helm.render()
    labels = rendered.deployment["spec"]["template"]["metadata"]["labels"]
    assert rendered.service["spec"]["selector"].items() <= labels.items()
    assert rendered.deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["hub.jupyter.org/network-access-hub"] == "true"


def test_the_old_pod_stops_before_the_new_one_starts(helm: Helm) -> None:
    strategy = helm.render().deployment["spec"]["strategy"]
    assert strategy == {"type": "Recreate", "rollingUpdate": None}
    notes = helm.notes({"deployment": {"strategy": ROLLING}})
    assert "WARNING: with the strategy RollingUpdate" in notes
    postgres = {"deployment": {"strategy": ROLLING}, "ngshare": {"databaseSecret": "db"}}
    assert "WARNING: with the strategy RollingUpdate" not in helm.notes(postgres)


@pytest.mark.parametrize("annotations", [{}, {"a": "b"}])
def test_what_was_handed_in_outlives_the_release(helm: Helm, annotations: Values) -> None:
    metadata = helm.render({"pvc": {"annotations": annotations}}).claim["metadata"]
    assert metadata["annotations"] == {"helm.sh/resource-policy": "keep", **annotations}


def test_a_claim_that_exists_is_used(helm: Helm) -> None:
    rendered = helm.render({"pvc": {"existingClaim": "old"}})
    assert not rendered.claim
    assert rendered.at("pod.volumes.0.persistentVolumeClaim.claimName") == "old"


def test_a_token_is_generated(helm: Helm) -> None:
    first, second = helm.render().token, helm.render().token
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert first != second


@pytest.mark.parametrize("given", ["", TOKEN])
def test_a_generated_token_survives_upgrades_until_one_is_given(helm: Helm, given: str) -> None:
    installed = helm.render()
    with kube_api(installed.secret) as url:
        values = {"ngshare": {"hub_api_token": given}}
        upgraded = helm.render(values, "--is-upgrade", *asking(url))
    assert upgraded.token == (given or installed.token)
    restarts = installed.at("deployment.spec.template") != upgraded.at("deployment.spec.template")
    assert restarts is bool(given)


def test_a_token_in_a_secret_of_ones_own(helm: Helm) -> None:
    key = "hub.services.ngshare.apiToken"
    values = {"existingSecret": "hub", "existingSecretKey": key}
    rendered = helm.render({"ngshare": values})
    assert not rendered.secret
    assert rendered.env["JUPYTERHUB_API_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": key}}
    command = r"kubectl get secret hub --namespace edu -o jsonpath='{.data.hub\.services\.ngshare"
    assert command in helm.notes({"ngshare": values})
    assert "both set" in helm.refusal({"ngshare": {**values, "hub_api_token": TOKEN}})


def test_the_token_appears_nowhere_but_in_the_secret(helm: Helm) -> None:
    values = {"ngshare": {"hub_api_token": TOKEN}}
    manifests = helm.render(values).manifests
    del manifests["Secret"]
    shown = json.dumps(manifests) + helm.notes(values)
    assert TOKEN not in shown
    assert TOKEN64 not in shown


def pasted(notes: str) -> Values:
    """The values for the Hub that stand in the notes."""
    return yaml.safe_load(notes[notes.index("\nhub:\n") : notes.index("\n3. ")])


def test_the_notes_can_be_pasted_into_the_values_of_the_hub(helm: Helm) -> None:
    ngshare = {"hub_base_url": "/jh/", "oauth_client_id": "service-x"}
    notes = helm.notes({"ngshare": ngshare, "deployment": {"port": 9000}})
    secret = "kubectl get secret class-2027-ngshare --namespace edu"
    assert f"{secret} -o jsonpath='{{.data.token}}' | base64 -d" in notes
    values = pasted(notes)
    assert values["hub"]["services"]["ngshare"] == {
        "url": "http://class-2027-ngshare.edu.svc:9000",
        "apiToken": "<the token of step 1>",
        "oauth_no_confirm": True,
        "oauth_client_id": "service-x",
    }
    [nbgrader] = values["singleuser"]["extraFiles"].values()
    config = Config()
    exec(nbgrader["stringData"], {"get_config": lambda: config})
    assert "Exchange" not in config  # the plugin finds the address
    assert config.ExchangeFactory.list.startswith("ngshare.exchange.")
    assert "CourseDirectory" not in config  # with "*" as the course nothing can be released


def test_the_notes_give_the_scope_to_users_and_to_their_servers(helm: Helm) -> None:
    """Beside what JupyterHub gives these roles by default, which a role in loadRoles replaces."""
    assert pasted(helm.notes())["hub"]["loadRoles"] == {
        "user": {"scopes": ["self", SCOPE]},
        "server": {"scopes": ["users:activity!user", "access:servers!server", SCOPE]},
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "tools that only render the chart"),
        ({}, "ngshare.admins is empty"),
        ({"ngshare": {"debug": True}}, "WARNING: ngshare.debug is on"),
    ],
)
def test_the_notes_warn(helm: Helm, values: Values, said: str) -> None:
    assert said in helm.notes(values)
    assert said not in helm.notes({"ngshare": {"admins": ["ann"], "hub_api_token": TOKEN}})


def settings(section: Values, name: str = "") -> dict[str, Values]:
    """The schema of every value, by the value's name."""
    found: dict[str, Values] = {}
    for key, schema in section["properties"].items():
        dotted = f"{name}.{key}".lstrip(".")
        is_section = not name and "properties" in schema
        found |= settings(schema, dotted) if is_section else {dotted: schema}
    return found


def test_every_value_is_described_and_documented() -> None:
    known = settings(json.loads((CHART / "values.schema.json").read_text()))
    assert {name for name, *_ in VALUES} <= set(known)
    assert [name for name, schema in known.items() if not schema["description"]] == []
    guide = DOCS.read_text()
    assert [name for name in known if f"`{name}`" not in guide] == []


def test_the_chart_installs_the_version_that_it_stands_beside() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert f"--tag registry.example.edu/ngshare:{__version__} ." in DOCS.read_text()


def test_the_image_fits_the_chart(helm: Helm) -> None:
    pod, container = helm.render().pod, helm.render().container
    user = "{runAsUser}:{runAsGroup}".format_map(pod["securityContext"])
    port = container["ports"][0]["containerPort"]
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    entrypoint = f"ENTRYPOINT {json.dumps(container['command'])}"
    assert {f"USER {user}", f"EXPOSE {port}", entrypoint} <= set(lines)
