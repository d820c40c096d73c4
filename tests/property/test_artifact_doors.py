"""Whatever stands in the files of an artifact that came from elsewhere: read, or refused in one sentence."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import honeykeras as hk
from honeykeras import export, manifest, trusted_operations
from honeykeras.errors import ModelError
from honeykeras.export import graph, key_reads, warmup

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
RIGHT = {
    "files": {"saved_model.pb": {"sha256": "0" * 64, "bytes": 3}},
    "format": 2,
    "key_id": None,
    "name": "digits",
    "role": "public",
    "version": 1,
}


def altered(content, changes):
    """Bytes with some of them changed, taken out or put in."""
    content = bytearray(content)
    for place, kind, byte in changes:
        place %= len(content) + 1
        if kind == "insert":
            content.insert(place, byte)
        elif place < len(content):
            content[place : place + 1] = b"" if kind == "delete" else bytes([byte])
    return bytes(content)


changes = st.lists(
    st.tuples(st.integers(0, 2**20), st.sampled_from(["set", "insert", "delete"]), st.integers(0, 255)), max_size=6
)


def is_one_sentence(error):
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


class TestManifest:
    @FUZZ
    @given(content=st.binary(max_size=200) | changes.map(lambda made: altered(json.dumps(RIGHT).encode(), made)))
    def test_of_any_bytes(self, content):
        self.parse(content)

    @FUZZ
    @given(document=anything | st.dictionaries(st.sampled_from(sorted(RIGHT)), anything).map(lambda made: RIGHT | made))
    def test_of_any_json(self, document):
        self.parse(json.dumps(document).encode())

    @FUZZ
    @given(files=st.dictionaries(st.text(max_size=8), anything | st.just(RIGHT["files"]["saved_model.pb"]), max_size=4))
    def test_of_any_files(self, files):
        self.parse(json.dumps(RIGHT | {"files": files}).encode())

    def parse(self, content):
        try:
            found = manifest.parse(content)
        except ValueError as error:
            is_one_sentence(error)
            return
        # What is taken for a manifest is one.
        assert found.identity.role == ("public" if found.identity.key_id is None else "hosted")
        assert 1 <= found.identity.version < 2**63
        for name, (sha256, size) in found.files.items():
            assert not name.startswith("/")
            assert ".." not in name.split("/")
            assert len(sha256) == 64
            assert size >= 0


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A small artifact, sealed."""
    keras.utils.set_random_seed(0)
    model = hk.models.small_cnn((8, 8, 1), 3)
    x = np.random.default_rng(0).random((60, 8, 8, 1), np.float32)
    key = hk.WatermarkKey(bytes(32), (8, 8, 1), 3, pattern=hk.patterns.Scattered())
    detector = hk.detection.PaperDetector(key).fit(model, hk.detection.Samples(x[:20], adversarial=x[20:40]))
    folder = tmp_path_factory.mktemp("artifact") / "m"
    return export.save_guarded(model, folder, detector.calibrate(x[40:], 0.2), export.SealingKey.generate())


@pytest.fixture(scope="module")
def described(artifact):
    return graph.read(artifact)


@pytest.fixture(scope="module")
def records(artifact):
    return list(tf.data.TFRecordDataset(str(artifact / warmup.FILE)).as_numpy_iterator())


class TestWarmupRequests:
    @FUZZ
    @given(data=st.data())
    def test_of_any_bytes(self, described, records, data):
        record = data.draw(st.sampled_from(records[:4]))
        content = data.draw(st.binary(max_size=100) | changes.map(lambda made: altered(record, made)))
        self.parse(content, described)

    @FUZZ
    @given(
        name=st.sampled_from(["serving_default", "predict_images", "classify", "extended", "other", ""]),
        given=st.sampled_from(["inputs", "image_bytes", "x", ""]),
        dtype=st.integers(0, 130),
        sizes=st.lists(st.integers(-2, 9) | st.integers(), max_size=6),
        content=st.binary(max_size=300),
        floats=st.lists(st.floats(width=32), max_size=70),
        strings=st.lists(st.binary(max_size=4), max_size=3),
    )
    def test_of_any_tensor(self, described, name, given, dtype, sizes, content, floats, strings):
        log = warmup._apis().PredictionLog()
        log.predict_log.request.model_spec.signature_name = name
        tensor = log.predict_log.request.inputs[given]
        tensor.dtype, tensor.tensor_content = dtype, content
        tensor.float_val.extend(floats)
        tensor.string_val.extend(strings)
        for size in sizes:
            tensor.tensor_shape.dim.add(size=max(-(2**63), min(size, 2**63 - 1)))
        self.parse(log.SerializeToString(), described)

    def parse(self, content, described):
        try:
            request = warmup.parse(content, described.signature_def)
        except ModelError as error:
            is_one_sentence(error)
            return
        # What is taken for a request is one that kernels can be given.
        (values,) = request.inputs.values()
        assert len(values) > 0
        assert values.shape[1:] in ((), (8, 8, 1))


class TestGraphs:
    """No change makes the check of operations fail otherwise than it should."""

    NAMES = st.sampled_from(
        ["", "x", "^x", "argument_0", "Const_0:output:0", "other_0", "Identity_0:output:0", "saver_filename", "Const"]
    )

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=st.data())
    def test_that_were_changed(self, described, data):
        changed = type(described)()
        changed.CopyFrom(described)
        functions = list(changed.graph_def.library.function)
        for _ in range(data.draw(st.integers(1, 3))):
            nodes = data.draw(st.sampled_from([changed.graph_def.node, *(each.node_def for each in functions)]))
            node = data.draw(st.sampled_from(list(nodes)))
            match data.draw(st.integers(0, 8)):
                case 0:
                    node.op = data.draw(
                        st.sampled_from(["ReadFile", "MatchingFiles", "WriteFile", "Identity", "", "X"])
                    )
                case 1:
                    node.ClearField("input")
                case 2:
                    node.input.append(data.draw(self.NAMES))
                case 3 if node.input:
                    node.input[0] = data.draw(self.NAMES)
                case 4:
                    node.ClearField("attr")
                case 5:
                    node.name = data.draw(self.NAMES)
                case 6:
                    changed.ClearField(
                        data.draw(st.sampled_from(["asset_file_def", "saver_def", "signature_def", "object_graph_def"]))
                    )
                case 7:
                    node.attr["f"].func.name = data.draw(self.NAMES)
                case 8:
                    function = data.draw(st.sampled_from(functions))
                    changed.object_graph_def.concrete_functions[function.signature.name].bound_inputs.append(
                        data.draw(st.integers(-3, 200))
                    )
        for check in (trusted_operations.check, lambda each: key_reads.check(each, needs_key=True)):
            try:
                check(changed)
            except ModelError as error:
                is_one_sentence(error)
