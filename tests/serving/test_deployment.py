"""The deploy kit: each file is what the program that reads it takes."""

import http.server
import importlib.resources
import json
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import threading
from pathlib import Path

import jsonschema
import kubernetes_validate
import model_signing
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from honeykeras import manifest
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export import batching, deployment, leaks

KEY_ID = "0123456789abcdef"


def write_kit(output, **changes):
    given = {"name": "digits", "base_path": output.parent / "my models" / "digits", "key_id": KEY_ID, "replicas": 3}
    deployment.write_kit(output, **{**given, **changes})
    return output


@pytest.fixture
def kit(tmp_path):
    return write_kit(tmp_path / "kit")


@pytest.fixture
def compose(kit):
    return yaml.safe_load((kit / "compose.yaml").read_text())


@pytest.fixture(params=["kubernetes.yaml", "kubernetes-gpu.yaml"])
def manifests(request, kit):
    return list(yaml.safe_load_all((kit / request.param).read_text()))


def of_kind(manifests, kind):
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def pod(manifests):
    return of_kind(manifests, "Deployment")["spec"]["template"]["spec"]


def check_compose(document):
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    jsonschema.validate(document, json.loads((folder / "compose-spec.json").read_text()))


POD = ("ConfigMap", "Deployment")


def load(path):
    return list(yaml.safe_load_all(path.read_text()))


def check_kserve(document):
    """By the names that its CRD has, of November 2026; what is a pod's, by Kubernetes."""
    schema = json.loads(Path(__file__).with_name("kserve_inferenceservice.json").read_text())
    jsonschema.validate(document, schema)
    ours = {"minReplicas", "maxReplicas", "labels"}
    for part in document["spec"].values():
        spec = {name: value for name, value in part.items() if name not in ours}
        check_kubernetes({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec})


def check_kubernetes(document):
    kubernetes_validate.validate(document, "1.30", strict=True)


class TestSchemas:
    def test_of_compose(self, compose):
        check_compose(compose)

    def test_of_compose_refuses_a_typo(self, compose):
        compose["services"]["cpu"]["read_onyl"] = True
        with pytest.raises(jsonschema.ValidationError):
            check_compose(compose)

    def test_of_kubernetes(self, manifests):
        kinds = [each["kind"] for each in manifests]
        assert kinds == [*POD, "Service", "NetworkPolicy", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
        for each in manifests:
            check_kubernetes(each)

    @pytest.mark.parametrize("name", ["kubernetes-gateway.yaml", "kubernetes-monitoring.yaml"])
    def test_of_kubernetes_around_the_server(self, kit, name):
        for each in load(kit / name):
            check_kubernetes(each)

    def test_of_kserve(self, kit):
        service, *policies = load(kit / "kserve.yaml")
        check_kserve(service)
        for each in policies:
            check_kubernetes(each)

    def test_of_kserve_refuses_a_typo(self, kit):
        service, *_ = load(kit / "kserve.yaml")
        service["spec"]["transformer"]["minReplica"] = 1
        with pytest.raises(jsonschema.ValidationError):
            check_kserve(service)

    @pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
    def test_of_prometheus(self, kit):
        config = (kit / "prometheus.yaml").read_text().replace("/etc/prometheus", str(kit))
        (kit / "prometheus.yaml").write_text(config)
        done = subprocess.run(
            ["promtool", "check", "config", kit / "prometheus.yaml"], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stdout

    def test_of_kubernetes_refuses_a_typo(self, manifests):
        pod(manifests)["containers"][0]["readynessProbe"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            check_kubernetes(of_kind(manifests, "Deployment"))


def message(package, **fields):
    """A message type of given fields, each a type of protocol buffers, or a message type with its name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    pool = descriptor_pool.DescriptorPool()
    kind = descriptor_pb2.FieldDescriptorProto
    for name, type_ in (("Int64", kind.TYPE_INT64), ("Bool", kind.TYPE_BOOL)):
        value = file.message_type.add(name=name).field
        value.add(name="value", number=1, type=type_, label=kind.LABEL_OPTIONAL)
    for owner, owned in fields.items():
        described = file.message_type.add(name=owner)
        for number, (name, type_) in enumerate(owned.items(), 1):
            repeated = isinstance(type_, list)
            field = described.field.add(
                name=name, number=number, label=kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            )
            type_ = type_[0] if repeated else type_
            if isinstance(type_, str):
                field.type, field.type_name = kind.TYPE_MESSAGE, f".{package}.{type_}"
            else:
                field.type = type_
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{next(iter(fields))}"))


KIND = descriptor_pb2.FieldDescriptorProto
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto
BATCHING = message(
    "batching",
    BatchingParameters={
        "max_batch_size": "Int64",
        "batch_timeout_micros": "Int64",
        "max_enqueued_batches": "Int64",
        "num_batch_threads": "Int64",
        "allowed_batch_sizes": [KIND.TYPE_INT64],
        "pad_variable_length_inputs": KIND.TYPE_BOOL,
    },
)
# tensorflow_serving/config/monitoring_config.proto
MONITORING = message(
    "monitoring",
    MonitoringConfig={"prometheus_config": "PrometheusConfig"},
    PrometheusConfig={"enable": KIND.TYPE_BOOL, "path": KIND.TYPE_STRING},
)


class TestServerConfig:
    def test_of_models(self, kit):
        from tensorflow_serving.config import model_server_config_pb2

        text = (kit / "models.config").read_text()
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        (model,) = config.model_config_list.config
        assert (model.name, model.base_path, model.model_platform) == ("digits", "/models/digits", "tensorflow")
        # A stock server has no request logger, and refuses to start.
        assert not model.HasField("logging_config")
        # What the comment says to write for labels is right, too.
        labelled = re.sub(r"(?m)^ +# {3}", "", text).replace("model_version_policy { latest { num_versions: 1 } }", "")
        config = text_format.Parse(labelled, model_server_config_pb2.ModelServerConfig())
        assert dict(config.model_config_list.config[0].version_labels) == {"stable": 1, "canary": 2}
        assert list(config.model_config_list.config[0].model_version_policy.specific.versions) == [1, 2]

    def test_of_monitoring(self, kit):
        config = text_format.Parse((kit / "monitoring.config").read_text(), MONITORING())
        assert config.prometheus_config.enable
        assert config.prometheus_config.path == "/monitoring/prometheus/metrics"

    def test_of_sessions(self, kit):
        config = text_format.Parse((kit / "session.config").read_text(), tf.compat.v1.ConfigProto())
        assert config.gpu_options.allow_growth

    @pytest.mark.parametrize("most", [1, 32, 64])
    def test_of_batching(self, most):
        config = text_format.Parse(batching.batching_parameters(most), BATCHING())
        sizes = list(config.allowed_batch_sizes)
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == config.max_batch_size.value == most

    def test_typos_are_told(self):
        with pytest.raises(text_format.ParseError):
            text_format.Parse("max_batch_szie { value: 3 }", BATCHING())

    def test_flags_are_the_servers(self):
        """As its main.cc declares them."""
        known = {
            "port", "rest_api_port", "model_config_file", "monitoring_config_file", "file_system_poll_wait_seconds",
            "max_num_load_retries", "enable_batching", "enable_per_model_batching_parameters", "enable_profiler",
            "allow_version_labels_for_unavailable_models", "tensorflow_session_config_file",
            "per_process_gpu_memory_fraction",
        }  # fmt: skip
        flags = [*deployment._FLAGS, *deployment._BATCHING_FLAGS, *deployment._GPU_FLAGS]
        assert {flag.split("=")[0].removeprefix("--") for flag in flags} == known


class TestPosture:
    def test_of_containers(self, manifests):
        spec = pod(manifests)
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec["initContainers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert re.search(r":v?[0-9]", container["image"])

    def test_the_key_is_the_servers_alone(self, manifests):
        spec = pod(manifests)
        mounted = {
            container["name"]: {mount["name"] for mount in container["volumeMounts"]}
            for container in [*spec["containers"], *spec["initContainers"]]
        }
        assert "key" in mounted["server"]
        assert "key" not in mounted["verify"]
        (secret,) = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
        assert secret == {"secretName": "digits-key", "defaultMode": 0o440}

    def test_of_compose(self, compose):
        for service in compose["services"].values():
            assert not service["user"].startswith("0")
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
            # What is written is written to volumes of their own.
            assert all(mount.endswith(":ro") for mount in service["volumes"] if mount[0] in "./")
        assert "secrets" not in compose["services"]["verify"]
        for name in ("cpu", "gpu"):
            service = compose["services"][name]
            assert service["secrets"] == ["model.key"]
            assert service["depends_on"] == {"verify": {"condition": "service_completed_successfully"}}
            assert "ports" not in service
        assert compose["services"]["gpu"]["image"].endswith("-gpu")

    @pytest.mark.parametrize("name", ["kubernetes-gateway.yaml", "kubernetes-monitoring.yaml", "kserve.yaml"])
    def test_around_the_server(self, kit, name):
        """What runs beside it is confined alike."""
        specs = [each["spec"] for each in load(kit / name) if each["kind"] in ("Deployment", "StatefulSet")]
        pods = [each["template"]["spec"] for each in specs]
        pods += [
            part for each in load(kit / name) if "predictor" in each.get("spec", {}) for part in each["spec"].values()
        ]
        assert pods
        for spec in pods:
            assert spec["securityContext"]["runAsNonRoot"]
            assert not spec["automountServiceAccountToken"]
            for container in [*spec["containers"], *spec.get("initContainers", [])]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert container["resources"]["limits"]["memory"]
            for container in spec["containers"]:
                assert container["readinessProbe"]

    def test_clients_reach_nothing_but_the_gateway(self, kit, manifests, compose):
        policies = {}
        for each in (manifests, load(kit / "kubernetes-gateway.yaml"), load(kit / "kubernetes-monitoring.yaml")):
            policies |= {one["metadata"]["name"]: one["spec"] for one in each if one["kind"] == "NetworkPolicy"}
        selected = {each["podSelector"]["matchLabels"]["app"] for each in policies.values()}
        assert selected == {f"digits-{each}" for each in ("server", "gateway", "redis", "prometheus", "grafana")}
        open_to_all = [
            (name, port["port"])
            for name, each in policies.items()
            for rule in each["ingress"]
            if "from" not in rule
            for port in rule["ports"]
        ]
        assert open_to_all == [("digits-gateway", 8501)]
        published = {
            name: [port for port in each["ports"] if not port.startswith("127.0.0.1:")]
            for name, each in compose["services"].items()
            if "ports" in each
        }
        assert {name: ports for name, ports in published.items() if ports} == {"gateway": ["8501:8501"]}
        for name in ("cpu", "gpu", "redis"):
            assert list(compose["services"][name]["networks"]) == ["inside"]
        assert compose["networks"]["inside"] == {"internal": True}

    def test_secrets_are_where_they_are_read(self, kit, compose):
        gateway = of_kind(load(kit / "kubernetes-gateway.yaml"), "Deployment")["spec"]["template"]["spec"]
        mounted = {
            each["name"]: {mount["name"] for mount in each["volumeMounts"]}
            for each in [*gateway["containers"], *gateway["initContainers"]]
        }
        assert mounted == {"secret": {"mounted", "secret"}, "gateway": {"config", "secret", "logs", "scratch"}}
        having = {name: each["secrets"] for name, each in compose["services"].items() if "secrets" in each}
        assert having == {
            "cpu": ["model.key"], "gpu": ["model.key"], "gateway": ["gateway.secret"], "grafana": ["grafana.password"]
        }  # fmt: skip

    def test_the_gateway_is_called_with_options_that_it_has(self, kit, compose):
        """In compose, Kubernetes and KServe, whose own words are left alone."""
        from honeykeras.cli.serve import serve

        ours = of_kind(load(kit / "kubernetes-gateway.yaml"), "Deployment")["spec"]["template"]["spec"]
        words = ours["containers"][0]["args"]
        assert compose["services"]["gateway"]["command"] == words
        given = serve.make_context("serve", list(words)).params
        assert (given["upstream"], given["models"], given["redis"]) == (
            "digits-server:8500", ("digits",), "redis://digits-redis:6379/0"
        )  # fmt: skip
        transformer = load(kit / "kserve.yaml")[0]["spec"]["transformer"]["containers"][0]
        appended = ["--model_name", "digits", "--predictor_host", "digits-predictor.default", "--http_port", "8080"]
        script = transformer["args"][0].replace("exec honeykeras", "printf '%s ' honeykeras")
        said = subprocess.run(
            [*transformer["command"], script, *transformer["args"][1:], *appended],
            check=True, capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
        assert said[:2] == ["honeykeras", "serve"]
        assert serve.make_context("serve", said[2:]).params["upstream"] == "digits-predictor:8500"

    def test_the_policy_is_one_and_only_watches(self, kit):
        from honeykeras.gateway import policy_files

        assert policy_files.read(kit / "policy.toml").shadow

    def test_what_is_scraped_and_shown_is_where_it_is(self, kit, manifests):
        config = yaml.safe_load((kit / "prometheus.yaml").read_text())
        names = {job["job_name"]: job["dns_sd_configs"][0]["names"] for job in config["scrape_configs"]}
        services = {
            each["metadata"]["name"]
            for file in ("kubernetes.yaml", "kubernetes-gateway.yaml", "kubernetes-monitoring.yaml")
            for each in load(kit / file)
            if each["kind"] == "Service"
        }
        assert {name for each in names.values() for name in each} <= services
        source = yaml.safe_load((kit / "grafana.yaml").read_text())["datasources"][0]
        assert source["url"] == "http://digits-prometheus:9090"
        assert "digits-prometheus" in services
        json.loads((kit / "dashboard.json").read_text())

    def test_gpus_are_asked_for_where_there_are_to_be_any(self, kit):
        for name, expected in (("kubernetes.yaml", None), ("kubernetes-gpu.yaml", "1")):
            spec = pod(list(yaml.safe_load_all((kit / name).read_text())))
            (server,) = spec["containers"]
            assert server["resources"]["limits"].get("nvidia.com/gpu") == expected
            assert server["image"].endswith("-gpu") == (expected is not None)
            assert any("gpu_memory" in flag for flag in server["args"]) == (expected is not None)

    def test_the_users_names_are_in(self, kit, manifests, compose, tmp_path):
        assert of_kind(manifests, "Deployment")["spec"]["replicas"] == 3
        assert of_kind(manifests, "Service")["metadata"]["name"] == "digits-server"
        assert f"{tmp_path}/my models/digits:/models/digits:ro" in compose["services"]["cpu"]["volumes"]
        assert str(tmp_path / "my models" / "digits") in (kit / "README.md").read_text()

    def test_what_servers_read_tells_nothing(self, kit):
        for name in (*deployment._SERVER, "kubernetes.yaml", "kubernetes-gpu.yaml"):
            text = (kit / name).read_bytes().lower().replace(b"secrets", b"").replace(b"secretname", b"")
            for word in set(leaks.TELLTALES) - {b"secret"}:
                assert word not in text, (name, word)

    def test_kubernetes_mounts_the_files_as_they_are(self, kit, manifests):
        gateway = load(kit / "kubernetes-gateway.yaml")
        monitoring = load(kit / "kubernetes-monitoring.yaml")
        for each in (manifests, gateway, monitoring):
            for name, content in of_kind(each, "ConfigMap")["data"].items():
                assert content.strip() == (kit / name).read_text().strip()


class TestScripts:
    @pytest.fixture
    def server(self):
        """A server that answers the status of the model with whatever `answer` is."""

        class Handler(http.server.BaseHTTPRequestHandler):
            answer = (200, "{}")

            def do_GET(self):
                code, text = self.answer if self.path == "/v1/models/digits" else (404, "")
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
            threading.Thread(target=served.serve_forever, daemon=True).start()
            served.handler = Handler
            yield served
            served.shutdown()

    def probe(self, kit, port, what):
        environment = {**os.environ, "REST_PORT": str(port)}
        done = subprocess.run(["bash", kit / "probe.sh", what], env=environment, check=False, capture_output=True)
        return done.returncode == 0

    @pytest.mark.parametrize(
        ("state", "code", "available"),
        [("AVAILABLE", 200, True), ("LOADING", 200, False), ("END", 200, False), ("", 404, False)],
    )
    def test_tells_whether_the_model_is_available(self, kit, server, state, code, available):
        answer = {"model_version_status": [{"version": "1", "state": state}]} if state else {}
        server.handler.answer = code, json.dumps(answer, indent=1)
        assert self.probe(kit, server.server_address[1], "available") == available
        assert self.probe(kit, server.server_address[1], "alive")

    def test_no_server_is_neither(self, kit):
        assert not self.probe(kit, 1, "available")
        assert not self.probe(kit, 1, "alive")

    def test_a_server_that_hangs_is_not_alive(self, kit, tmp_path):
        """Its port is open: nobody accepts what waits there."""
        script = write_kit(tmp_path / "quick") / "probe.sh"
        script.write_text(script.read_text().replace("timeout 5", "timeout 0.2"))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            assert not self.probe(script.parent, listening.getsockname()[1], "alive")

    def test_must_be_told_what_to_look_for(self, kit, server):
        assert not self.probe(kit, server.server_address[1], "")

    @pytest.fixture
    def verifying(self, kit, tmp_path):
        """A function that runs the script on a folder of models with the real program. Paths are a container's."""
        from honeykeras.export import signing

        models, keys = tmp_path / "models" / "digits", tmp_path / "keys"
        keys.mkdir()
        models.mkdir(parents=True)
        signing.write_key_pair(keys / "signing.pem", keys / "signing.pub")
        script = tmp_path / "verify.sh"
        text = (kit / "verify.sh").read_text()
        script.write_text(text.replace("/models/", f"{tmp_path}/models/").replace("/keys/", f"{keys}/"))
        # Where the program was installed, whether or not that environment is active.
        path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"

        def run():
            environment = {**os.environ, "PATH": path}
            return subprocess.run(["sh", script], env=environment, check=False, capture_output=True, text=True)

        def add(number, **changes):
            given = {"name": "digits", "version": int(number), "role": "hosted", "key_id": KEY_ID}
            (models / number).mkdir()
            (models / number / "saved_model.pb").write_bytes(number.encode())
            manifest.write(models / number, manifest.Identity(**{**given, **changes}))
            config = model_signing.signing.Config().set_hashing_config(signing._hashing(model_signing.hashing))
            signed = config.use_elliptic_key_signer(private_key=keys / "signing.pem")
            signed.sign(str(models / number), str(models / f"{number}.sig"))

        return models, add, run

    def test_verifies_every_version_with_the_real_program(self, verifying):
        models, add, run = verifying
        assert run().returncode != 0
        add("1")
        add("2")
        assert run().returncode == 0
        (models / "2" / ".gitignore").write_bytes(b"")
        assert run().returncode != 0
        (models / "2" / ".gitignore").unlink()
        # What no server takes for a version is passed over, and what it does is not.
        (models / "lost+found").mkdir()
        (models / ".staged.x").mkdir()
        assert run().returncode == 0
        for name in (" 9", "+9", "-9", "9\n", "9"):
            (models / name).mkdir()
            assert run().returncode != 0, name
            (models / name).rmdir()
        (models / "1" / "saved_model.pb").write_bytes(b"2")
        assert run().returncode != 0

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"name": "letters"}, '"name": "digits",'),
            ({"version": 7}, '"version": 3'),
            ({"key_id": "f" * 16}, f'"key_id": "{KEY_ID}",'),
            ({"role": "public", "key_id": None}, f'"key_id": "{KEY_ID}",'),
            # As a file is called, or another line begins.
            ({"name": 'x",\n "name": "digits'}, '"name": "digits",'),
        ],
    )
    def test_verifies_that_what_was_signed_belongs_there(self, verifying, changes, line):
        _, add, run = verifying
        add("3", **changes)
        done = run()
        assert done.returncode != 0
        assert f"must have the line {line}. Received: another" in done.stderr

    def test_verifies_no_link(self, verifying):
        models, add, run = verifying
        add("1")
        (models / "2").symlink_to(models / "1")
        (models / "2.sig").symlink_to(models / "1.sig")
        assert "not a link" in run().stderr


class TestArguments:
    @pytest.mark.parametrize("name", ["", "Digits", "a b", "a_b", "-a", "a-", "a/b", "ä", "a" * 43, "a:\n", None])
    def test_names_are_those_that_kubernetes_takes(self, name, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`name` must be lower-case letters"):
            write_kit(tmp_path / "kit", name=name)
        assert not (tmp_path / "kit").exists()

    @pytest.mark.parametrize("version", ["latest", "", "2.19.1-gpu", "2.19 # x"])
    def test_images_are_pinned(self, version, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`image_version` must be a version"):
            write_kit(tmp_path / "kit", image_version=version)

    @pytest.mark.parametrize("image", ["", "a b", "$(x)", None])
    def test_the_gateways_image_is_a_name(self, image, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`gateway_image` must name an image"):
            write_kit(tmp_path / "kit", gateway_image=image)

    def test_a_path_that_cannot_be_mounted_is_refused(self, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`base_path` must have no colon"):
            write_kit(tmp_path / "kit", base_path="a:b")

    def test_replicas_are_a_number(self, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`replicas`"):
            write_kit(tmp_path / "kit", replicas=0)

    def test_a_kit_is_replaced_only_if_asked_to(self, kit, tmp_path):
        with pytest.raises(StorageError, match="already exists"):
            write_kit(kit)
        write_kit(kit, image_version="2.18.0", overwrite=True)
        assert "tensorflow/serving:2.18.0" in (kit / "compose.yaml").read_text()

    @pytest.mark.parametrize("key_id", [None, "", "0" * 15, "G" * 16, f"{KEY_ID}\n", b"0" * 16])
    def test_key_ids_are_those_of_sealing_keys(self, key_id, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`key_id` must be that of a sealing key"):
            write_kit(tmp_path / "kit", key_id=key_id)


class TestBatching:
    def test_is_off(self, kit):
        for name in deployment.KIT:
            text = (kit / name).read_text()
            assert "enable_batching=" not in text
            assert "never answered" not in text or name == "README.md"

    def test_says_what_it_costs_where_it_is_switched_on(self, tmp_path):
        kit = write_kit(tmp_path / "kit", batching=True)
        for name in ("compose.yaml", "kubernetes.yaml", "kubernetes-gpu.yaml"):
            text = (kit / name).read_text()
            assert "--enable_batching=true" in text
            assert "an empty one is never answered" in text
        check_compose(yaml.safe_load((kit / "compose.yaml").read_text()))
        assert "This kit has the server put requests of several clients together" in (kit / "README.md").read_text()


class TestProbes:
    def test_of_kubernetes_ask_for_the_status(self, manifests):
        (server,) = pod(manifests)["containers"]
        probes = {name: server[f"{name}Probe"]["exec"]["command"][-1] for name in ("startup", "readiness", "liveness")}
        assert probes == {"startup": "available", "readiness": "available", "liveness": "alive"}

    def test_of_compose_asks_for_it_and_starts_are_counted(self, compose):
        for name in ("cpu", "gpu"):
            assert compose["services"][name]["healthcheck"]["test"][-1] == "available"
            assert compose["services"][name]["restart"] == "on-failure:3"
