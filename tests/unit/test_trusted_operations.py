"""Of a graph that does anything but compute, nothing is run."""

import importlib
import inspect
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

import honeykeras as hk
from honeykeras import trusted_operations
from honeykeras.errors import ModelError

FLOATS = tf.TensorSpec([None, 3], tf.float32, "x")


def described(path):
    return saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]


def write(path, graph):
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[graph])
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())


class Stored(tf.Module):
    """A model with a variable, so that there is a saver."""

    def __init__(self, act=lambda x: x):
        super().__init__()
        self.scale = tf.Variable(tf.ones([3]))
        self.act = act

    @tf.function(input_signature=[FLOATS], autograph=False)
    def run(self, x):
        return {"y": tf.nn.softmax(self.act(x * self.scale))}


def save(module, path):
    tf.saved_model.save(module, str(path), signatures=module.run)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save(Stored(), tmp_path_factory.mktemp("good") / "m")


class Initialised(tf.saved_model.experimental.TrackableResource):
    def __init__(self, act):
        super().__init__()
        self._act = act

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1])

    def _initialize(self):
        self._act()


def with_initializer(act):
    module = Stored()
    module.resource = Initialised(act)
    _ = module.resource.resource_handle
    return module


def with_method(act):
    """A function that no signature runs."""
    module = Stored()
    module.other = tf.function(act, input_signature=[], autograph=False)
    return module


def with_gradient(act):
    @tf.custom_gradient
    def through(x):
        return x, lambda upstream: (act(), upstream)[1]

    return Stored(through)


def after(act, x):
    with tf.control_dependencies([act()]):
        return tf.identity(x)


def hostile(tmp_path):
    """What writes a file, wherever a graph can have it."""
    mark = str(tmp_path / "written")

    def act():
        return tf.raw_ops.WriteFile(filename=mark, contents="x")

    return mark, {
        "signature": Stored(lambda x: after(act, x)),
        "while body": Stored(
            lambda x: tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, after(act, x)), [0, x])[1]
        ),
        "while condition": Stored(
            lambda x: tf.while_loop(lambda i, x: after(act, i) < 2, lambda i, x: (i + 1, x), [0, x])[1]
        ),
        "branch": Stored(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: after(act, x), lambda: x)),
        "map": Stored(lambda x: tf.map_fn(lambda row: after(act, row), x)),
        "function of a function": Stored(lambda x: tf.function(tf.function(lambda: after(act, x)))()),
        "initializer": with_initializer(act),
        "function of no signature": with_method(lambda: after(act, 1.0)),
    }


PLACES = (
    "signature", "while body", "while condition", "branch", "map", "function of a function", "initializer",
    "function of no signature",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_what_writes_a_file_is_refused_and_not_run(place, tmp_path):
    mark, modules = hostile(tmp_path)
    path = save(modules[place], tmp_path / "m")
    if os.path.exists(mark):
        os.unlink(mark)
    with pytest.raises(ModelError, match=r"Received: WriteFile\.$"):
        hk.models.load(path)
    assert not os.path.exists(mark)


def test_it_would_be_run(tmp_path):
    """The control of the test above."""
    mark, modules = hostile(tmp_path)
    path = save(modules["initializer"], tmp_path / "m")
    if os.path.exists(mark):
        os.unlink(mark)
    tf.saved_model.load(str(path))
    assert os.path.exists(mark)


@pytest.mark.parametrize(
    ("operation", "act"),
    [
        ("ReadFile", lambda x: after(lambda: tf.io.read_file("/etc/passwd"), x)),
        ("MatchingFiles", lambda x: after(lambda: tf.io.matching_files("/etc/*"), x)),
        ("PyFunc", lambda x: tf.numpy_function(lambda x: x, [x], tf.float32)),
        ("EagerPyFunc", lambda x: tf.py_function(lambda x: x, [x], tf.float32)),
        ("PrintV2", lambda x: after(lambda: tf.print(x, output_stream="file:///tmp/x"), x)),
        ("SaveV2", lambda x: after(lambda: tf.raw_ops.SaveV2(prefix="/x", tensor_names=["x"], shape_and_slices=[""],
                                                             tensors=[x]), x)),
        ("RestoreV2", lambda x: tf.raw_ops.RestoreV2(prefix="/x", tensor_names=["x"], shape_and_slices=[""],
                                                     dtypes=[tf.float32])[0] + x),
        ("[A-Za-z]*Dataset", lambda x: after(lambda: tf.data.TextLineDataset("/x").reduce(0, lambda a, b: a), x)),
        ("ImmutableConst", lambda x: x + tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[3],
                                                                   memory_region_name="/x")),
        ("Abort", lambda x: after(lambda: tf.raw_ops.Abort(error_msg="x"), x)),
        ("_Send", None),
        ("NoSuchOperation", None),
    ],
)  # fmt: skip
def test_other_operations_are_refused_by_name(operation, act, good, tmp_path):
    if act is None:
        graph = described(good)
        graph.graph_def.library.function[0].node_def.add(name="x", op=operation)
    else:
        graph = described(save(Stored(act), tmp_path / "m"))
    with pytest.raises(ModelError, match=f"Received: {operation}\\b") as caught:
        trusted_operations.check(graph)
    assert "\n" not in str(caught.value)


def test_a_gradient_that_writes_is_refused(tmp_path):
    """Which is run when a model is attacked, and not before."""
    module = with_gradient(lambda: tf.raw_ops.WriteFile(filename=str(tmp_path / "written"), contents="x"))
    path = tmp_path / "m"
    tf.saved_model.save(
        module, str(path), signatures=module.run, options=tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    )
    with pytest.raises(ModelError, match="Received: WriteFile"):
        trusted_operations.check(described(path))


class TestSaver:
    """What saves and restores variables is in every SavedModel, and could be called for more."""

    @pytest.fixture(params=["save", "restore"])
    def case(self, request, good):
        graph = described(good)
        saver = graph.saver_def
        call = saver.save_tensor_name.split(":")[0] if request.param == "save" else saver.restore_op_name
        (node,) = [node for node in graph.graph_def.node if node.name == call]
        return graph, node

    def refused(self, graph):
        with pytest.raises(ModelError, match="where TensorFlow's saver does not have it"):
            trusted_operations.check(graph)

    def test_is_taken_where_it_is(self, good):
        assert trusted_operations.check(described(good)) > 10

    def test_is_no_objects_function(self, case):
        """An object can be initialised by any function, with any constants."""
        graph, node = case
        graph.object_graph_def.concrete_functions[node.attr["f"].func.name].SetInParent()
        self.refused(graph)

    def test_is_no_objects_method(self, case):
        graph, node = case
        graph.object_graph_def.nodes.add().function.concrete_functions.append(node.attr["f"].func.name)
        self.refused(graph)

    def test_is_no_objects_bare_function(self, case):
        graph, node = case
        added = graph.object_graph_def.nodes.add()
        added.bare_concrete_function.concrete_function_name = node.attr["f"].func.name
        self.refused(graph)

    def test_is_called_by_no_other_node(self, case):
        graph, node = case
        graph.graph_def.node.add(name="more", op="PartitionedCall").attr["f"].func.name = node.attr["f"].func.name
        self.refused(graph)

    def test_is_called_by_no_function(self, case):
        graph, node = case
        added = graph.graph_def.library.function[0].node_def.add(name="more", op="While")
        added.attr["body"].func.name = node.attr["f"].func.name
        self.refused(graph)

    def test_is_no_functions_attribute(self, case):
        """Functions that attributes name have attributes of their own."""
        graph, node = case
        added = graph.graph_def.node.add(name="more", op="Case")
        (outer,) = [added.attr["branches"].list.func.add(name=graph.graph_def.library.function[0].signature.name)]
        outer.attr["f"].func.name = node.attr["f"].func.name
        self.refused(graph)

    def test_is_no_gradient(self, case):
        graph, node = case
        graph.graph_def.library.registered_gradients.add(gradient_func=node.attr["f"].func.name)
        self.refused(graph)

    def test_is_needed_by_nothing(self, case):
        graph, node = case
        graph.graph_def.node.add(name="more", op="NoOp", input=[f"^{node.name}"])
        self.refused(graph)

    def test_is_no_signature(self, case):
        graph, node = case
        graph.signature_def["more"].outputs["y"].name = f"{node.name}:0"
        self.refused(graph)

    def test_is_in_no_collection(self, case):
        graph, node = case
        graph.collection_def["saved_model_main_op"].node_list.value.append(node.name)
        self.refused(graph)

    def test_is_given_its_file_by_the_loader(self, case):
        graph, node = case
        graph.graph_def.node.add(name="more", op="Const")
        node.input[0] = "more"
        self.refused(graph)

    def test_implements_nothing_else(self, case):
        """TensorFlow puts functions in each other's place that say they implement the same."""
        graph, node = case
        for function in graph.graph_def.library.function:
            if function.signature.name == node.attr["f"].func.name:
                function.attr["api_implements"].s = b"something"
        self.refused(graph)

    def test_does_not_save_when_it_is_to_restore(self, good):
        graph = described(good)
        (node,) = [node for node in graph.graph_def.node if node.name == graph.saver_def.restore_op_name]
        (function,) = [
            each for each in graph.graph_def.library.function if each.signature.name == node.attr["f"].func.name
        ]
        function.node_def.add(name="more", op="SaveV2", input=["x"])
        self.refused(graph)

    def test_restores_no_other_file(self, good):
        graph = described(good)
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == "RestoreV2":
                    node.input[0] = node.input[1]
        with pytest.raises(ModelError, match="RestoreV2 of another file than the variables'"):
            trusted_operations.check(graph)


class TestNames:
    """What could be another than it seems."""

    def refused(self, graph, match):
        with pytest.raises(ModelError, match=match):
            trusted_operations.check(graph)

    def test_of_functions_are_not_those_of_operations(self, good):
        graph = described(good)
        graph.graph_def.library.function[0].signature.name = "Relu"
        self.refused(graph, "a function called 'Relu', as an operation is")

    def test_of_functions_are_there(self, good):
        graph = described(good)
        graph.graph_def.node.add(name="more", op="PartitionedCall").attr["f"].func.name = "WriteFile"
        self.refused(graph, "the name of another, 'WriteFile'")

    def test_of_functions_are_there_once(self, good):
        graph = described(good)
        graph.graph_def.library.function.append(graph.graph_def.library.function[0])
        self.refused(graph, "twice")

    def test_of_nodes_are_there_once(self, good):
        graph = described(good)
        nodes = graph.graph_def.library.function[0].node_def
        nodes.append(nodes[0])
        self.refused(graph, "twice")

    def test_of_functions_are_no_operations(self, good):
        """As TensorFlow 1 called them."""
        graph = described(good)
        graph.graph_def.node.add(name="more", op=graph.graph_def.library.function[0].signature.name)
        self.refused(graph, "Received: __inference")


def test_a_graph_of_tensorflow_1_is_refused(good):
    """Its loader runs what no object graph names."""
    graph = described(good)
    graph.ClearField("object_graph_def")
    with pytest.raises(ModelError, match="one of TensorFlow 1's"):
        trusted_operations.check(graph)


class TestList:
    def test_names_operations_that_there_are(self):
        missing = [name for name in trusted_operations.COMPUTING if op_def_registry.get(name) is None]
        # Another TensorFlow has a few more or fewer.
        assert len(missing) < 20, missing

    @pytest.mark.parametrize("kind", trusted_operations._BY_KIND)
    def test_is_by_the_files_that_declare_them(self, kind):
        file = "gen_stateless_random_ops_v2" if kind == "stateless_random_v2" else f"gen_{kind}_ops"
        declared = inspect.getsource(importlib.import_module(f"tensorflow.python.ops.{file}"))
        for name in trusted_operations._BY_KIND[kind].split():
            assert f'"{name}"' in declared or op_def_registry.get(name) is None

    @pytest.mark.parametrize(
        "word",
        ["File", "Summary", "Print", "Dataset", "Iterator", "PyFunc", "Send", "Recv", "Collective", "Rpc", "Queue",
         "Barrier", "Save", "Restore", "Checkpoint", "Xla", "TPU", "Mutex", "Session", "Abort", "Remote", "Proto"],
    )  # fmt: skip
    def test_has_nothing_that_does_more(self, word):
        assert [name for name in trusted_operations.COMPUTING if word in name] == []


class TestModels:
    """Classifiers of all kinds are made of what is listed."""

    @pytest.mark.parametrize(
        "layers",
        [
            [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.MaxPooling2D()],
            [keras.layers.SeparableConv2D(4, 3, activation="gelu"), keras.layers.SpatialDropout2D(0.2)],
            [keras.layers.Reshape((8, 8)), keras.layers.LSTM(5)],
            [keras.layers.Reshape((8, 8)), keras.layers.Bidirectional(keras.layers.GRU(5))],
            [
                keras.layers.Reshape((8, 8)),
                keras.layers.LayerNormalization(),
                keras.layers.Dense(4, activation="swish"),
            ],
            [keras.layers.Rescaling(2), keras.layers.Resizing(4, 4), keras.layers.ZeroPadding2D()],
        ],
        ids=["convolution", "separable", "lstm", "gru", "normalization", "preprocessing"],
    )
    def test_is_loaded(self, layers, tmp_path):
        model = keras.Sequential(
            [keras.Input((8, 8, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        )
        model.export(tmp_path / "m", verbose=False)
        x = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
        loaded = hk.models.load(tmp_path / "m")
        np.testing.assert_allclose(loaded(x), model(x, training=False), atol=1e-5)

    def test_that_draws_random_numbers_is_made_of_them_too(self, tmp_path):
        layers = [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), keras.layers.RandomZoom(0.1)]
        model = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(3)])
        model.export(tmp_path / "m", verbose=False)
        trusted_operations.check(described(tmp_path / "m"))
        with pytest.raises(ModelError, match="must compute with variables that it does not change"):
            hk.models.load(tmp_path / "m")
