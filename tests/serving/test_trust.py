"""Beside a key, no graph is run that nobody vouches for: verify, load and reseal."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import export, manifest
from honeykeras.errors import (
    InvalidArgumentError,
    KeyFileError,
    LeakError,
    ModelError,
    SignatureError,
    StorageError,
)
from honeykeras.export import graph, key_reads, signing, warmup

CHECKS = ["files", "signature", "identity", "leaks", "operations", "answers"]


def verify(version, **options):
    return dict(export.verify(version, **options))


def reading(described):
    """The function that reads files."""
    (function,) = [
        each for each in described.graph_def.library.function if any(node.op == "ReadFile" for node in each.node_def)
    ]
    return function


def rewritten(version, described):
    """Puts a graph in the place of another, as one who can write to the folder would."""
    graph.write(version, described)
    manifest.write(version, manifest.read(version).identity)
    return version


@pytest.fixture
def runs(monkeypatch):
    """The folders that were loaded."""
    found, load = [], tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path, *rest: found.append(path) or load(path, *rest))
    return found


@pytest.fixture
def tampered(signed):
    """An artifact whose graph gives away the key: of listed operations, but not what was signed."""
    described = graph.read(signed)
    described.meta_info_def.meta_graph_version = "other"
    return rewritten(signed, described)


class TestVerify:
    def test_tells_what_is_right_in_the_order_of_trust(self, signed, public_key, sealing_key, watermark_key):
        found = verify(signed, public_key=public_key, sealing_key=sealing_key, watermark_key=watermark_key)
        assert list(found) == CHECKS
        assert found["signature"] == "right"
        assert found["identity"] == "right, hosted version 1 of 'digits'"
        assert "8 warmup requests" in found["answers"]

    def test_finds_the_key_where_the_artifact_does(self, signed, public_key, tmp_path):
        assert verify(signed, public_key=public_key)["answers"]
        (tmp_path / "model.key").unlink()
        with pytest.raises(ModelError, match=r"Received: assertion failed: \[No key file was found"):
            verify(signed, public_key=public_key)

    def test_runs_no_graph_beside_a_key_that_nobody_signed(self, version, sealing_key, runs):
        """All the rest is checked all the same."""
        found = []
        with pytest.raises(SignatureError, match="must be verified before it is run beside its key"):
            found.extend(export.verify(version, sealing_key=sealing_key))
        assert [name for name, _ in found] == CHECKS[:-1]
        assert found[1].found.startswith("not checked")
        assert runs == []

    def test_runs_it_if_told_to(self, version, sealing_key):
        assert list(verify(version, sealing_key=sealing_key, unsigned=True)) == CHECKS

    def test_runs_none_whose_signature_is_wrong(self, tampered, public_key, sealing_key, runs):
        with pytest.raises(SignatureError, match="must be what was signed"):
            verify(tampered, public_key=public_key, sealing_key=sealing_key)
        assert runs == []

    def test_runs_what_needs_no_key_without_a_signature(self, public):
        """Nothing in it is secret, and its operations are all listed."""
        assert list(verify(public)) == CHECKS

    def test_takes_one_of_a_signature_and_none(self, signed, public_key):
        with pytest.raises(InvalidArgumentError, match="One of `public_key` and `unsigned`"):
            verify(signed, public_key=public_key, unsigned=True)

    def test_another_key_is_refused(self, signed, public_key):
        with pytest.raises(SignatureError, match="its sealing key must be"):
            verify(signed, public_key=public_key, sealing_key=export.SealingKey.generate())

    def test_a_watermark_in_a_file_is_refused(self, version, watermark_key):
        pattern = hk.Watermark(watermark_key).patterns().numpy()[3].tobytes()
        (version / "assets" / "more").write_bytes(pattern)
        manifest.write(version, manifest.read(version).identity)
        with pytest.raises(LeakError, match="pattern 3"):
            verify(version, watermark_key=watermark_key)

    @pytest.mark.parametrize("change", ["alter", "add", "remove"])
    def test_every_change_to_a_file_is_found(self, version, change):
        for path in [path for path in version.rglob("*") if path.is_file() and path.name != "manifest.json"]:
            content = path.read_bytes()
            other = path.with_name(f"{path.name}2")
            if change == "alter":
                path.write_bytes(content + b"\0")
            elif change == "add":
                other.touch()
            else:
                path.unlink()
            with pytest.raises(StorageError, match=path.name):
                next(export.verify(version))
            path.write_bytes(content)
            other.unlink(missing_ok=True)
        assert next(export.verify(version)).name == "files"

    def test_an_added_empty_folder_is_found(self, version):
        (version / "more").mkdir()
        with pytest.raises(StorageError, match="more/ was added"):
            verify(version)


class TestIdentity:
    def test_the_public_artifact_in_the_place_of_the_sealed_one(self, public, signing_keys, sealing_key, tmp_path):
        """Signed by the same hand, and under the same name."""
        place = tmp_path / "serving" / "digits" / "1"
        shutil.copytree(public, place)
        manifest.write(place, manifest.Identity.of_place(place))
        signing.sign(place, signing_keys[0])
        assert verify(place, public_key=signing_keys[1])
        for expected in ({"sealing_key": sealing_key}, {"role": "hosted"}):
            with pytest.raises(SignatureError, match="must be the artifact that is expected"):
                verify(place, public_key=signing_keys[1], **expected)

    def test_a_version_under_another_number(self, signed, public_key):
        other = signed.with_name("9")
        shutil.copytree(signed, other)
        shutil.copy(signing.signature_path(signed), signing.signature_path(other))
        with pytest.raises(SignatureError, match=r"its version must be 9\. Received: 1"):
            verify(other, public_key=public_key)

    def test_a_model_under_another_name(self, signed, public_key):
        other = signed.parent.with_name("other")
        shutil.move(signed.parent, other)
        with pytest.raises(SignatureError, match=r"its name must be other\. Received: digits"):
            verify(other / "1", public_key=public_key)
        assert verify(other / "1", public_key=public_key, name="digits", role="hosted")

    def test_a_manifest_that_is_about_another_sealed_file(self, version):
        identity = manifest.Identity("digits", 1, "hosted", "f" * 16)
        manifest.write(version, identity)
        with pytest.raises(SignatureError, match="must be sealed with the key that its manifest names"):
            verify(version)

    def test_a_role_that_is_none(self, version):
        with pytest.raises(InvalidArgumentError, match="`role` must be one of"):
            verify(version, role="sealed")

    def test_says_nothing_of_what_it_is_for(self, guarded):
        document = json.loads((guarded / manifest.FILE).read_text())
        assert (document["name"], document["role"], document["version"]) == ("digits", "hosted", 1)

    @pytest.mark.parametrize("name", ["honeypot", "my-Watermarked-model"])
    def test_a_telling_name_is_refused_at_once(self, classifier, tmp_path, name):
        with pytest.raises(LeakError, match="The name of a model's folder must not tell"):
            export.save(classifier, tmp_path / name)
        assert not (tmp_path / name).exists()


def add(function, **node):
    function.node_def.add(name="more", **node)


def set_constant(node, value):
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def node_of(function, op, place=0):
    return [node for node in function.node_def if node.op == op][place]


def made_by(function, tensor):
    (node,) = [node for node in function.node_def if node.name == tensor.split(":")[0]]
    return node


def bound(described):
    return described.object_graph_def.concrete_functions[reading(described).signature.name].bound_inputs


def call(described):
    name = reading(described).signature.name
    (node,) = [node for node in described.graph_def.node if node.attr["f"].func.name == name]
    return node


def passwd(function):
    """A constant with another file's name."""
    node = function.node_def.add(name="other", op="Const")
    node.attr["dtype"].type = tf.string.as_datatype_enum
    set_constant(node, "/etc/passwd")
    return "other:output:0"


def outside(described):
    (function,) = [each for each in described.graph_def.library.function if each.signature.name == "serving_default_0"]
    return function


ATTACKS = {
    "a second search": lambda d: add(reading(d), op="MatchingFiles", input=["argument_0"]),
    "a third file": lambda d: add(reading(d), op="ReadFile", input=[passwd(reading(d))]),
    "the key twice": lambda d: add(reading(d), op="ReadFile", input=["Identity_0:output:0"]),
    "another file for the key": lambda d: node_of(reading(d), "ReadFile").input.__setitem__(0, passwd(reading(d))),
    "another sealed file": lambda d: node_of(reading(d), "ReadFile", 1).input.__setitem__(0, passwd(reading(d))),
    "another list": lambda d: set_constant(
        reading(d).node_def.add(name="other", op="Const", attr=node_of(reading(d), "Const").attr), ["/etc/passwd"]
    ),
    "another folder": lambda d: node_of(reading(d), "StaticRegexReplace").attr["rewrite"].__setattr__("s", b"/etc/"),
    "another join": lambda d: node_of(reading(d), "StringJoin").attr["separator"].__setattr__("s", b"/../"),
    "another choice": lambda d: set_constant(made_by(reading(d), node_of(reading(d), "StridedSlice").input[1]), [1]),
    "another asset": lambda d: d.asset_file_def[0].__setattr__("filename", "../../../../etc/passwd"),
    "two assets": lambda d: d.asset_file_def.add(filename="parameters"),
    "another argument": lambda d: bound(d).reverse(),
    "an argument less": lambda d: bound(d).pop(),
    "a call with another argument": lambda d: outside(d).node_def.add(
        name="more", op="PartitionedCall", input=["a", "b"]
    ).attr["f"].func.__setattr__("name", reading(d).signature.name),
    "another argument in the C++ loader": lambda d: call(d).input.__setitem__(0, "Const"),
    "no argument in the C++ loader": lambda d: call(d).ClearField("input"),
    "another path in the C++ loader": lambda d: d.graph_def.node.add(
        name="more", op="AssignVariableOp", input=["Variable", "Const"]
    ),
}  # fmt: skip


class TestOperations:
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_reads_of_other_files_are_refused(self, version, sealing_key, runs, attack):
        described = graph.read(version)
        ATTACKS[attack](described)
        rewritten(version, described)
        with pytest.raises(ModelError, match="must read its own sealed file and its key's, and no other"):
            verify(version, sealing_key=sealing_key, unsigned=True)
        assert runs == []

    @pytest.mark.parametrize("operation", ["WriteFile", "ReadFile", "PyFunc", "RestoreV2"])
    @pytest.mark.parametrize("place", ["signature", "opener", "graph"])
    def test_what_does_more_than_compute_is_refused(self, version, sealing_key, runs, operation, place):
        described = graph.read(version)
        nodes = {
            "signature": outside(described).node_def,
            "opener": reading(described).node_def,
            "graph": described.graph_def.node,
        }
        nodes[place].add(name="more", op=operation, input=["x", "x"])
        rewritten(version, described)
        with pytest.raises(ModelError):
            verify(version, sealing_key=sealing_key, unsigned=True)
        assert runs == []

    def test_a_public_artifact_reads_no_key(self, version):
        """It is run without a signature, so that it must not, whatever its manifest says."""
        with pytest.raises(ModelError, match="Received: MatchingFiles"):
            key_reads.check(graph.read(version), needs_key=False)

    @pytest.mark.parametrize("paths", [["a.key"], ["/a", "b", "gs://c/d", "../../e"]])
    def test_any_number_of_places_for_the_key(self, classifier, detector, sealing_key, tmp_path, paths):
        folder = export.save_guarded(classifier, tmp_path / "m", detector, sealing_key, key_paths=paths)
        described = graph.read(folder)
        assert graph.key_paths(described) == paths
        assert key_reads.check(described, needs_key=True) > 100

    def test_is_told_of_operations_in_what_was_exported(self, guarded, public):
        assert key_reads.check(graph.read(guarded), needs_key=True) > 500
        assert key_reads.check(graph.read(public), needs_key=False) > 100


@pytest.fixture(scope="module")
def model(keyed, sealing_key):
    return export.load(keyed, sealing_key=sealing_key, unsigned=True)


class TestLoad:
    def test_gives_the_classifier_behind_the_policy(self, model, classifier, digits):
        expected = tf.nn.softmax(classifier(digits.test.x)).numpy()
        np.testing.assert_allclose(model.predict(digits.test.x, verbose=0), expected, atol=1e-5)

    def test_can_be_attacked_like_it(self, model, classifier, digits):
        x, y = digits.test.x[:20], digits.test.y[:20]
        made = [hk.attacks.PGD(0.2, steps=5).generate(each, x, y).x_adv for each in (model, classifier)]
        assert np.mean(np.abs(made[0] - made[1]) > 1e-5) < 0.005

    def test_needs_a_signature(self, signed, public_key, runs):
        with pytest.raises(SignatureError, match="Received: no public key"):
            export.load(signed)
        assert runs == []
        assert export.load(signed, public_key=public_key)

    def test_a_tampered_one_is_refused(self, tampered, public_key, runs):
        with pytest.raises(SignatureError, match="must be what was signed"):
            export.load(tampered, public_key=public_key)
        assert runs == []

    def test_says_that_there_is_no_key(self, version, tmp_path):
        (tmp_path / "model.key").unlink()
        with pytest.raises(
            ModelError, match=r"Received: assertion failed: \[No key file was found at\] \[/run/secrets"
        ):
            export.load(version, unsigned=True)

    def test_of_what_needs_no_key_needs_no_signature(self, public, classifier, digits):
        expected = tf.nn.softmax(classifier(digits.test.x[:9])).numpy()
        np.testing.assert_allclose(export.load(public)(digits.test.x[:9]), expected, atol=1e-5)

    @pytest.mark.parametrize("with_manifest", [True, False])
    def test_models_load_refuses_what_needs_a_key(self, version, runs, with_manifest):
        if not with_manifest:
            (version / manifest.FILE).unlink()
        with pytest.raises(ModelError, match=r"honeykeras\.export\.load.*--public-key|--sealing-key"):
            hk.models.load(version)
        assert runs == []


class TestReseal:
    def test_gives_the_next_version_another_key_and_leaves_the_model(
        self, server, signed, public_key, sealing_key, tmp_path, digits
    ):
        new = export.SealingKey.generate()
        again = export.reseal(signed, sealing_key, new, public_key=public_key)
        assert again == signed.parent / "2"
        assert (again / "saved_model.pb").read_bytes() == (signed / "saved_model.pb").read_bytes()
        build_id = manifest.check(signed).identity.build_id
        assert build_id is not None
        assert manifest.check(again).identity == manifest.Identity("digits", 2, "hosted", new.key_id, build_id)
        x = digits.test.x[:9]
        (before,) = server.ask([signed], [(0, "extended", x)])
        assert "Another key is needed" in server.load_error(again)
        new.save(tmp_path / "model.key", overwrite=True)
        (after,) = server.ask([again], [(0, "extended", x)])
        np.testing.assert_allclose(after["score"], before["score"], rtol=0, atol=1e-5)
        assert "Another key is needed" in server.load_error(signed)

    def test_of_what_nobody_signed_is_refused_before_a_key_is_used(self, version, sealing_key, runs):
        with pytest.raises(SignatureError, match="Received: no public key"):
            export.reseal(version, sealing_key, None)
        assert runs == []
        assert [path.name for path in version.parent.iterdir()] == ["1"]

    def test_of_what_was_tampered_with_is_refused(self, tampered, public_key, sealing_key, runs):
        """It would be made good by a new signature."""
        with pytest.raises(SignatureError, match="must be what was signed"):
            export.reseal(tampered, sealing_key, export.SealingKey.generate(), public_key=public_key)
        assert runs == []
        assert not (tampered.parent / "2").exists()

    def test_of_what_does_more_than_compute_is_refused(self, version, sealing_key, runs):
        described = graph.read(version)
        outside(described).node_def.add(name="more", op="WriteFile")
        rewritten(version, described)
        with pytest.raises(ModelError, match="Received: WriteFile"):
            export.reseal(version, sealing_key, export.SealingKey.generate(), unsigned=True)
        assert runs == []

    def test_of_what_nobody_signed_if_told_to(self, version, sealing_key):
        assert export.reseal(version, sealing_key, export.SealingKey.generate(), unsigned=True).name == "2"

    def test_needs_the_old_key(self, version):
        with pytest.raises(KeyFileError, match="The sealing key must be"):
            export.reseal(version, export.SealingKey.generate(), export.SealingKey.generate(), unsigned=True)
        assert [path.name for path in version.parent.iterdir()] == ["1"]

    def test_refuses_a_damaged_version(self, version, sealing_key):
        graph_file = version / "saved_model.pb"
        graph_file.write_bytes(graph_file.read_bytes() + b"\0")
        with pytest.raises(StorageError, match=r"saved_model\.pb was altered"):
            export.reseal(version, sealing_key, export.SealingKey.generate(), unsigned=True)

    def test_is_for_artifacts_that_need_a_key(self, public, sealing_key):
        with pytest.raises(InvalidArgumentError, match="must be an artifact that needs a key"):
            export.reseal(public, sealing_key, export.SealingKey.generate(), unsigned=True)


class TestWarmup:
    """Files of requests that were damaged, or are of another model."""

    @pytest.fixture
    def copy(self, public, tmp_path):
        copy = tmp_path / "digits-public" / "1"
        shutil.copytree(public, copy)
        return copy

    def refused(self, version, content, runs):
        (version / warmup.FILE).write_bytes(content)
        manifest.write(version, manifest.read(version).identity)
        with pytest.raises(ModelError, match="must hold 1 to 1000 warmup requests") as caught:
            verify(version)
        assert "\n" not in str(caught.value)
        assert runs == []
        with pytest.raises(ModelError, match="must hold 1 to 1000 warmup requests"):
            export.inspect(version)

    @pytest.mark.parametrize("content", [b"", b"garbage", b"g" * 1000, (2**62).to_bytes(8, "little") + bytes(8)])
    def test_that_are_none(self, copy, runs, content):
        self.refused(copy, content, runs)

    def test_that_are_too_long_with_a_right_checksum(self, copy, runs):
        """For which TensorFlow makes room, and ends the process."""
        head = bytes.fromhex("000000000000004044cbd04a")
        self.refused(copy, head + bytes(30), runs)

    def test_that_are_truncated(self, copy, runs):
        self.refused(copy, (copy / warmup.FILE).read_bytes()[:-3], runs)

    def test_that_are_not_there(self, copy, runs):
        (copy / warmup.FILE).unlink()
        (copy / warmup.FILE).parent.rmdir()
        manifest.write(copy, manifest.read(copy).identity)
        with pytest.raises(ModelError, match="Received: No such file"):
            verify(copy)
        assert export.inspect(copy)["warmup_requests"] == 0
        assert runs == []

    @pytest.mark.parametrize(
        "x",
        [
            np.zeros((), np.float32),
            np.zeros((1, 2), np.float32),
            np.zeros((0, 8, 8, 1), np.float32),
            np.zeros((1, 8, 8, 1), np.float64),
            np.zeros((1, 8, 8, 3), np.float32),
            np.array([b"x"], object),
        ],
        ids=["scalar", "rank", "empty", "dtype", "shape", "strings"],
    )
    def test_that_the_signature_does_not_take(self, copy, runs, x):
        """One of another rank ended the process."""
        log = warmup._apis().PredictionLog()
        log.predict_log.request.model_spec.signature_name = "serving_default"
        log.predict_log.request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(x))
        self.refused(copy, framed(copy, log), runs)

    @pytest.mark.parametrize("name", ["", "other", "extended", "__saved_model_init_op"])
    def test_of_another_signature(self, copy, runs, name):
        log = warmup._apis().PredictionLog()
        log.predict_log.request.model_spec.signature_name = name
        self.refused(copy, framed(copy, log), runs)

    def test_that_are_of_another_kind(self, copy, runs):
        log = warmup._apis().PredictionLog()
        log.regress_log.request.model_spec.signature_name = "classify"
        self.refused(copy, framed(copy, log), runs)

    def test_that_say_a_greater_size_than_they_have(self, copy, runs):
        log = warmup._apis().PredictionLog()
        log.predict_log.request.model_spec.signature_name = "serving_default"
        tensor = log.predict_log.request.inputs["inputs"]
        tensor.dtype = tf.float32.as_datatype_enum
        for size in (10**9, 8, 8, 1):
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.append(0.5)
        self.refused(copy, framed(copy, log), runs)


def framed(version, log):
    """A file of one record."""
    with tf.io.TFRecordWriter(str(version / "record")) as writer:
        writer.write(log.SerializeToString())
    content = (version / "record").read_bytes()
    (version / "record").unlink()
    return content
