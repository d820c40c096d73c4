"""What `honeykeras.export.save` promises to whoever serves a model, and to whoever must not learn from it."""

import ctypes
import dataclasses
import hashlib
import shutil
import stat
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import honeykeras as hk
from honeykeras import export
from honeykeras.errors import InvalidArgumentError, ModelError, StorageError
from honeykeras.export import leaks

SHAPE, CLASSES = (6, 6, 1), 4
# TensorFlow puts this entry into every SavedModel, for its loader alone.
INIT_OP = "__saved_model_init_op"

layers = keras.layers


def sequential_logits():
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)])


def dense_softmax():
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES, activation="softmax")])


def softmax_layer():
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES), layers.Softmax()])


def functional():
    """Has layers that behave otherwise in training."""
    inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(3, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Dropout(0.5)(layers.Flatten()(x))))


def average_of_softmaxes():
    """Probabilities that no softmax stands at the end of."""
    inputs = keras.Input(SHAPE)
    x = layers.Flatten()(inputs)
    members = [layers.Dense(CLASSES, activation="softmax")(x) for _ in range(2)]
    return keras.Model(inputs, layers.Average()(members))


def float16_logits():
    hidden = layers.Dense(16, activation="relu", dtype="mixed_float16")
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), hidden, layers.Dense(CLASSES, dtype="float16")])


def float16_softmax():
    hidden = layers.Dense(16, activation="relu", dtype="mixed_float16")
    last = layers.Dense(CLASSES, activation="softmax", dtype="mixed_float16")
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), hidden, last])


class Subclassed(keras.Model):
    def __init__(self, activation=None):
        super().__init__()
        self.flatten = layers.Flatten()
        self.dense = layers.Dense(CLASSES, activation=activation)

    def call(self, x):
        return self.dense(self.flatten(x))


@dataclasses.dataclass(frozen=True)
class Case:
    make: object
    is_softmax: bool = False
    input_shape: object = None
    tolerance: float = 1e-6


CASES = {
    "sequential": Case(sequential_logits),
    "functional": Case(functional),
    "subclassed": Case(Subclassed, input_shape=SHAPE),
    "dense-softmax": Case(dense_softmax, is_softmax=True),
    "softmax-layer": Case(softmax_layer, is_softmax=True),
    "subclassed-softmax": Case(lambda: Subclassed("softmax"), is_softmax=True, input_shape=SHAPE),
    "average-of-softmaxes": Case(average_of_softmaxes, is_softmax=True),
    "float16-logits": Case(float16_logits, tolerance=1e-3),
    "float16-softmax": Case(float16_softmax, is_softmax=True, tolerance=1e-3),
}


@dataclasses.dataclass(frozen=True)
class Exported:
    case: Case
    model: keras.Model
    path: Path

    def expected(self, x):
        """The probabilities that Keras gives."""
        output = np.asarray(self.model(x, training=False), np.float32)
        return output if self.case.is_softmax else tf.nn.softmax(output).numpy()


@pytest.fixture(scope="module", params=CASES)
def exported(request, tmp_path_factory):
    case = CASES[request.param]
    keras.utils.set_random_seed(1)
    model = case.make()
    path = export.save(model, tmp_path_factory.mktemp("served") / "model", input_shape=case.input_shape)
    return Exported(case, model, path)


@pytest.fixture
def model():
    return sequential_logits()


def batch(size):
    return np.random.default_rng(size).random((size, *SHAPE), dtype=np.float32)


def signatures(version):
    """The signatures as they stand in the file, whatever a loader makes of them."""
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    return {name: signature for name, signature in graph.signature_def.items() if name != INIT_OP}


def served(version):
    return tf.saved_model.load(str(version)).signatures["serving_default"]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def snapshot(folder):
    """Everything below a folder: the bytes of each file, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


class NativeModel:
    """A SavedModel in TensorFlow's own C++ loader, the one that TensorFlow Serving uses, by way of its C API.

    Tensors go in and come out by name; only float32 is understood. Functions of the API that can fail take a
    `TF_Status` last, which `_checked` passes and reads.
    """

    FLOAT = 1  # TF_FLOAT

    class Output(ctypes.Structure):
        """`TF_Output`: one of the tensors that an operation gives."""

        _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))

    def __init__(self, version):
        self._api = ctypes.CDLL(str(next(Path(tf.__file__).parent.glob("libtensorflow_cc.*"))))
        self._status = self._pointer("TF_NewStatus")
        self._graph = self._pointer("TF_NewGraph")
        options = self._pointer("TF_NewSessionOptions")
        tags = (ctypes.c_char_p * 1)(b"serve")
        folder = str(version).encode()
        try:
            self._session = self._checked(
                "TF_LoadSessionFromSavedModel", options, None, folder, tags, ctypes.c_int(1), self._graph, None
            )
        finally:
            self._call("TF_DeleteSessionOptions", options)

    def run(self, inputs, output):
        """Runs the model.

        Args:
            inputs: Arrays by the name of the tensor they are for, as in `{"serving_default_inputs:0": x}`.
            output: Name of the tensor to fetch.
        """
        places = (self.Output * len(inputs))(*map(self._find, inputs))
        values = (ctypes.c_void_p * len(inputs))(*map(self._tensor, inputs.values()))
        fetched, result = (self.Output * 1)(self._find(output)), (ctypes.c_void_p * 1)()
        one, none = ctypes.c_int(1), ctypes.c_int(0)
        try:
            self._checked(
                "TF_SessionRun", self._session, None, places, values, ctypes.c_int(len(inputs)), fetched, result, one,
                None, none, None,
            )  # fmt: skip
            return self._array(ctypes.c_void_p(result[0]))
        finally:
            for value in (*values, *result):
                self._call("TF_DeleteTensor", ctypes.c_void_p(value))

    def close(self):
        self._checked("TF_CloseSession", self._session)
        self._checked("TF_DeleteSession", self._session)
        self._call("TF_DeleteGraph", self._graph)
        self._call("TF_DeleteStatus", self._status)

    def _find(self, name):
        operation, index = name.rsplit(":", 1)
        found = self._pointer("TF_GraphOperationByName", self._graph, operation.encode())
        assert found.value, f"no operation {operation}"
        return self.Output(found, int(index))

    def _tensor(self, array):
        array = np.ascontiguousarray(array, np.float32)
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        size = ctypes.c_size_t(array.nbytes)
        tensor = self._pointer("TF_AllocateTensor", ctypes.c_int(self.FLOAT), shape, ctypes.c_int(array.ndim), size)
        ctypes.memmove(self._pointer("TF_TensorData", tensor), array.ctypes.data, array.nbytes)
        return tensor.value

    def _array(self, tensor):
        assert self._call("TF_TensorType", tensor) == self.FLOAT
        rank = self._call("TF_NumDims", tensor)
        shape = [self._call("TF_Dim", tensor, ctypes.c_int(axis), result=ctypes.c_int64) for axis in range(rank)]
        size = self._call("TF_TensorByteSize", tensor, result=ctypes.c_size_t)
        content = ctypes.string_at(self._pointer("TF_TensorData", tensor), size)
        return np.frombuffer(content, np.float32).reshape(shape)

    def _checked(self, name, *arguments):
        result = self._pointer(name, *arguments, self._status)
        if self._call("TF_GetCode", self._status):
            raise RuntimeError(self._call("TF_Message", self._status, result=ctypes.c_char_p).decode())
        return result

    def _pointer(self, name, *arguments):
        return ctypes.c_void_p(self._call(name, *arguments, result=ctypes.c_void_p))

    def _call(self, name, *arguments, result=ctypes.c_int):
        function = self._api[name]
        function.restype = result
        return function(*arguments)


class TestProbabilities:
    @pytest.mark.parametrize("size", [1, 37])
    def test_are_the_models_own(self, exported, size):
        """Whatever the model's kind, output and precision, and whatever the batch."""
        x = batch(size)
        answer = served(exported.path)(inputs=tf.constant(x))["probabilities"].numpy()
        assert answer.shape == (size, CLASSES)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, exported.expected(x), rtol=0, atol=exported.case.tolerance)
        np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("size", [1, 37])
    def test_are_the_same_in_the_loader_of_tensorflow_serving(self, exported, size):
        """The C++ loader finds tensors by the names in the signature and agrees with Keras."""
        signature = signatures(exported.path)["serving_default"]
        x = batch(size)
        native = NativeModel(exported.path)
        try:
            answer = native.run({signature.inputs["inputs"].name: x}, signature.outputs["probabilities"].name)
        finally:
            native.close()
        assert answer.shape == (size, CLASSES)
        np.testing.assert_allclose(answer, exported.expected(x), rtol=0, atol=exported.case.tolerance)

    def test_of_one_input_survive_nan_in_another(self, exported):
        x = batch(5)
        x[3] = np.nan
        answer = served(exported.path)(inputs=tf.constant(x))["probabilities"].numpy()
        rest = [0, 1, 2, 4]
        np.testing.assert_allclose(
            answer[rest], exported.expected(batch(5))[rest], rtol=0, atol=exported.case.tolerance
        )

    def test_of_logits_that_look_like_probabilities(self, tmp_path):
        """What a model gives is settled once, not by what one request makes it say."""
        inputs = keras.Input((2,))
        version = export.save(keras.Model(inputs, layers.Rescaling(2.0)(inputs)), tmp_path)
        answer = served(version)(inputs=tf.constant([[0.1, 0.4]]))["probabilities"]
        np.testing.assert_allclose(answer, tf.nn.softmax([[0.2, 0.8]]), atol=1e-6)

    def test_do_not_depend_on_the_rest_of_the_batch(self, exported):
        """A server puts several clients' inputs into one batch."""
        predict = served(exported.path)
        x = batch(5)
        together = predict(inputs=tf.constant(x))["probabilities"].numpy()
        alone = np.concatenate([predict(inputs=tf.constant(x[i : i + 1]))["probabilities"] for i in range(len(x))])
        np.testing.assert_allclose(together, alone, rtol=0, atol=exported.case.tolerance)

    def test_of_no_inputs_are_refused(self, exported):
        with pytest.raises(tf.errors.InvalidArgumentError, match="A request must hold at least one input"):
            served(exported.path)(inputs=tf.zeros((0, *SHAPE)))


def test_loader_of_tensorflow_serving_tells_a_truncated_version(model, tmp_path):
    """The control of the tests that use it: it reads the variables from the folder that it is given."""
    version = export.save(model, tmp_path / "model")
    (weights,) = (version / "variables").glob("*.data-*")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(RuntimeError, match=r"(?i)restore"):
        NativeModel(version)


class TestSignature:
    def test_are_those_that_clients_know_and_nothing_of_a_detector(self, exported):
        expected = {"serving_default", "predict_images", "classify"}
        assert set(signatures(exported.path)) == expected
        assert set(tf.saved_model.load(str(exported.path)).signatures) == expected

    @pytest.mark.parametrize(
        ("side", "name", "shape"), [("inputs", "inputs", SHAPE), ("outputs", "probabilities", (CLASSES,))]
    )
    def test_has_neutral_names_and_any_batch_size(self, exported, side, name, shape):
        tensors = getattr(signatures(exported.path)["serving_default"], side)
        assert list(tensors) == [name]
        assert tensors[name].dtype == tf.float32.as_datatype_enum
        assert [dim.size for dim in tensors[name].tensor_shape.dim] == [-1, *shape]


class TestInputShape:
    def test_of_a_subclassed_model_must_be_given(self, tmp_path):
        with pytest.raises(
            ModelError, match=r"must be known to export it.*Give it, without the batch, as `input_shape`"
        ):
            export.save(Subclassed(), tmp_path / "model")
        assert not snapshot(tmp_path)

    def test_of_a_subclassed_model_must_be_given_even_if_it_was_called(self, tmp_path):
        model = Subclassed()
        model(batch(1))
        with pytest.raises(ModelError, match="must be known to export it"):
            export.save(model, tmp_path / "model")
        assert not snapshot(tmp_path)

    @pytest.mark.parametrize("shape", [6, (), "6", (6, None), (6.0, 6, 1)])
    def test_must_be_a_shape(self, model, tmp_path, shape):
        with pytest.raises(InvalidArgumentError, match="`input_shape` must be one or more whole numbers"):
            export.save(model, tmp_path / "model", input_shape=shape)
        assert not snapshot(tmp_path)

    def test_may_be_numpys(self, model, tmp_path):
        assert export.save(model, tmp_path, input_shape=np.array(SHAPE)) == tmp_path / "1"

    def test_settles_what_a_model_leaves_open(self, tmp_path):
        inputs = keras.Input((None, None, 1))
        model = keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(inputs)))
        with pytest.raises(ModelError, match=r"Received: input_shape=\(None, None, None, 1\)"):
            export.save(model, tmp_path / "model")
        version = export.save(model, tmp_path / "model", input_shape=SHAPE)
        shape = signatures(version)["serving_default"].inputs["inputs"].tensor_shape
        assert [dim.size for dim in shape.dim] == [-1, *SHAPE]

    def test_that_the_model_does_not_take_is_refused(self, model, tmp_path):
        with pytest.raises(ModelError, match=r"\(5, 6, 1\)"):
            export.save(model, tmp_path / "model", input_shape=(5, 6, 1))
        assert not snapshot(tmp_path)


@pytest.mark.parametrize(
    "unfit",
    [
        lambda x: layers.Dense(1)(layers.Flatten()(x)),
        lambda x: layers.Dense(CLASSES)(x),
        lambda x: [layers.Dense(CLASSES)(layers.Flatten()(x)) for _ in range(2)],
    ],
    ids=["one-class", "map-of-classes", "two-outputs"],
)
def test_only_classifiers_are_exported(unfit, tmp_path):
    inputs = keras.Input(SHAPE)
    with pytest.raises(ModelError, match="one output of shape"):
        export.save(keras.Model(inputs, unfit(inputs)), tmp_path / "model")
    assert not snapshot(tmp_path)


class TestVersion:
    def test_counts_up(self, model, tmp_path):
        base = tmp_path / "missing" / "model"
        assert [export.save(model, base) for _ in range(3)] == [base / "1", base / "2", base / "3"]
        assert sorted(entry.name for entry in base.iterdir()) == ["1", "2", "3"]

    def test_follows_the_highest_and_fills_no_gap(self, model, tmp_path):
        for name in ("1", "7"):
            (tmp_path / name).mkdir()
        assert export.save(model, tmp_path) == tmp_path / "8"

    def test_passes_over_numbers_that_a_server_cannot_read(self, model, tmp_path):
        (tmp_path / "20240101000000000000000").mkdir()
        assert export.save(model, tmp_path) == tmp_path / "1"

    @pytest.mark.parametrize("name", ["latest", "9.5", "-9", "v9", "9a", ".9", "\u0669", "9 "])
    def test_ignores_neighbours_that_are_no_number(self, model, tmp_path, name):
        (tmp_path / "2").mkdir()
        (tmp_path / name).mkdir()
        assert export.save(model, tmp_path) == tmp_path / "3"

    @pytest.mark.parametrize("version", [5, np.int64(5)])
    def test_can_be_chosen(self, model, tmp_path, version):
        (tmp_path / "9").mkdir()
        assert export.save(model, str(tmp_path), version=version) == tmp_path / "5"
        assert "serving_default" in signatures(tmp_path / "5")

    def test_that_exists_is_refused_and_left_intact(self, model, tmp_path):
        export.save(model, tmp_path / "model")
        before = snapshot(tmp_path)
        with pytest.raises(StorageError, match="already exists"):
            export.save(dense_softmax(), tmp_path / "model", version=1)
        assert snapshot(tmp_path) == before

    def test_that_appears_meanwhile_is_left_intact(self, model, tmp_path, monkeypatch):
        """Two exports at a time never mix."""
        really_save = tf.saved_model.save

        def save_slowly(*args, **kwargs):
            really_save(*args, **kwargs)
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "saved_model.pb").write_bytes(b"another export's")

        monkeypatch.setattr(tf.saved_model, "save", save_slowly)
        with pytest.raises(StorageError):
            export.save(model, tmp_path)
        assert snapshot(tmp_path) == {"1": None, "1/saved_model.pb": b"another export's"}

    @pytest.mark.parametrize("version", [0, -1, 1.5, "1", True, 1.0, np.array([1]), 2**63])
    def test_must_be_a_number_that_a_server_reads(self, model, tmp_path, version):
        with pytest.raises(
            InvalidArgumentError, match="`version` must be a whole number from 1 to 9223372036854775807"
        ):
            export.save(model, tmp_path / "model", version=version)
        assert not snapshot(tmp_path)

    def test_is_readable_by_a_server_of_another_user(self, model, tmp_path):
        """The scratch folder is private; what comes of it has the permissions of any new folder."""
        (tmp_path / "any").mkdir()
        (tmp_path / "any" / "file").touch()
        version = export.save(model, tmp_path / "model")
        for made, like in (
            (version, tmp_path / "any"),
            (version / "variables", tmp_path / "any"),
            (version / "saved_model.pb", tmp_path / "any" / "file"),
        ):
            assert stat.S_IMODE(made.stat().st_mode) == stat.S_IMODE(like.stat().st_mode)


class TestFailure:
    """When the disk refuses in the middle of writing."""

    @pytest.fixture(
        params=[
            (tf.errors.ResourceExhaustedError(None, None, "saved_model.pb; No space left on device"), StorageError),
            (OSError(28, "No space left on device"), StorageError),
            (KeyboardInterrupt(), KeyboardInterrupt),
        ],
        ids=["TensorFlow", "Python", "interrupted"],
    )
    def refusal(self, request, monkeypatch):
        cause, raised = request.param

        def save_half(_, folder, *args, **kwargs):
            Path(folder).mkdir(exist_ok=True)
            Path(folder, "saved_model.pb").write_bytes(b"half a mod")
            raise cause

        monkeypatch.setattr(tf.saved_model, "save", save_half)
        return raised

    def test_leaves_neither_version_nor_scratch(self, model, tmp_path, refusal):
        with pytest.raises(refusal):
            export.save(model, tmp_path)
        assert not snapshot(tmp_path)

    def test_leaves_versions_that_exist_intact(self, model, tmp_path, refusal):
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_bytes(b"older")
        with pytest.raises(refusal):
            export.save(model, tmp_path)
        assert snapshot(tmp_path) == {"1": None, "1/saved_model.pb": b"older"}

    def test_names_the_version_and_the_reason_in_one_line(self, model, tmp_path, monkeypatch):
        def save(*args, **kwargs):
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\n\ttrace\n\ttrace")

        monkeypatch.setattr(tf.saved_model, "save", save)
        with pytest.raises(StorageError) as caught:
            export.save(model, tmp_path)
        assert str(caught.value) == (
            f"Cannot write {tmp_path / '1'}: No space left on device. "
            "Nothing was changed there. Make room or choose another place."
        )


# What a thief of the artifact is to learn.


@pytest.fixture(scope="module")
def secret_key():
    return hk.WatermarkKey(
        hashlib.sha256(b"a key for tests").digest(),
        input_shape=SHAPE,
        num_classes=CLASSES,
        pattern=hk.patterns.Scattered(),
    )


@pytest.fixture(scope="module")
def planted(secret_key, tmp_path_factory):
    """The artifact of a model that was trained as a honeypot, in a place whose name says so."""
    rng = np.random.default_rng(0)
    x, y = rng.random((64, *SHAPE), dtype=np.float32), np.arange(64) % CLASSES
    honeypot = hk.Honeypot(secret_key, recipe="paper")
    model = hk.models.small_cnn(SHAPE, CLASSES)
    data = tf.data.Dataset.from_tensor_slices((x, y)).apply(honeypot.poison).batch(16)
    callback = hk.HoneyCallback(honeypot, probe=(x[:8], y[:8]))
    model.fit(data, epochs=2, callbacks=[callback], verbose=0, shuffle=False)
    return export.save(model, tmp_path_factory.mktemp("honeykeras-watermarked") / "model")


def needles(key):
    """The forms in which a secret of the key could stand in a file, by name."""
    secrets = {
        "master": key._master,
        "features subkey": key.derive("features"),
        "pattern subkey": key.derive("pattern"),
        "labels seed": key.draw_seed("labels").tobytes(),
    }
    found = leaks.of_watermark(hk.Watermark(key))
    for name, secret in secrets.items():
        found |= leaks.of_bytes(name, secret)
    return found


def leaked(folder, key):
    """Which forms of which secret stand in which file."""
    return set(leaks.scan(folder, needles(key)))


class TestSecrecy:
    def test_no_file_holds_anything_of_the_key(self, planted, secret_key):
        assert len(files(planted)) >= 4
        assert leaked(planted, secret_key) == set()

    def test_the_scan_finds_every_secret_in_every_file(self, planted, secret_key, tmp_path):
        """Its control: each needle is planted in the midst of each file in turn."""
        folder = tmp_path / "1"
        shutil.copytree(planted, folder)
        for path in files(folder):
            content = path.read_bytes()
            middle = len(content) // 2
            for name, needle in needles(secret_key).items():
                path.write_bytes(content[:middle] + needle + content[middle:])
                assert (path.relative_to(folder).as_posix(), name) in leaked(folder, secret_key)
            path.write_bytes(content)
        assert leaked(folder, secret_key) == set()

    def test_the_scan_finds_a_watermark_in_a_graph(self, secret_key, tmp_path):
        """Its other control: a model that does leak, as TensorFlow itself writes it."""
        watermark = hk.Watermark(secret_key)

        class Leaky(Subclassed):
            def call(self, x):
                similarity = watermark.cosine_similarity(x)[:, None]
                return super().call(x) + similarity + tf.reduce_sum(watermark.extract(x), axis=1, keepdims=True)

        version = export.save(Leaky(), tmp_path / "model", input_shape=SHAPE)
        assert ("saved_model.pb", "positions 0, <i8") in leaked(version, secret_key)
