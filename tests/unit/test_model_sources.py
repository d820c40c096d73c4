"""What is trained: what a user's function returns, or what is in a file."""

import textwrap

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras import model_sources
from honeykeras.errors import InvalidArgumentError, ModelError

HEADER = """
import keras
from keras import layers

def dense(shape, classes, outputs=None):
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(outputs or classes)])

def make(shape, classes):
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file whose function `make` has this body; returns its source."""

    def write(body):
        path = tmp_path / "mine.py"
        path.write_text(HEADER + textwrap.indent(textwrap.dedent(body), "    "))
        return f"{path}:make"

    return write


@pytest.fixture
def build(write, digits):
    def build(body, seed=1, **options):
        return model_sources.get(write(body), **options)(digits, seed=seed, steps=5)

    return build


def compiled(**settings):
    given = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy"} | settings
    text = ", ".join(f"{name}={value if name == 'raw' else repr(value)}" for name, value in given.items())
    return f"model = dense(shape, classes)\nmodel.compile({text})\nreturn model"


SUBCLASSED = """
class Mine(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.dense = layers.Flatten(), layers.Dense(classes)
    def call(self, x):
        return self.dense(self.flat(x))
    BODY
model = Mine()
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
return model
"""


class TestFunction:
    def test_what_it_compiled_is_what_is_trained(self, build):
        made = build(
            """
            model = dense(shape, classes)
            schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
            model.compile(keras.optimizers.SGD(schedule, use_ema=True), "sparse_categorical_crossentropy",
                          steps_per_execution=3)
            return model
            """
        )
        assert isinstance(made.model.optimizer, keras.optimizers.SGD)
        assert made.model.optimizer.use_ema
        assert made.model.steps_per_execution == 3
        assert float(made.model.optimizer.learning_rate) == pytest.approx(0.1)
        assert (made.class_weight, made.one_hot) == (None, False)

    def test_seed_decides_the_weights(self, build):
        one, same, other = (build(compiled(), seed=seed).model.get_weights()[0] for seed in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_weights_of_classes_by_number_or_name(self, build, digits):
        body = compiled().replace("return model", "return model, {'class_weight': {3: 2.5}}")
        assert build(body).class_weight == {number: 2.5 if number == 3 else 1.0 for number in range(10)}

    @pytest.mark.parametrize("loss", ["categorical_crossentropy", "kl_divergence", "mean_squared_error"])
    def test_losses_that_take_rows(self, build, loss):
        assert build(compiled(loss=loss)).one_hot
        assert not build(compiled()).one_hot

    def test_branch(self, build):
        plain, branched = (build(compiled(), branch=branch).model for branch in (False, None))
        assert not hk.models.has_branch(plain)
        assert hk.models.has_branch(branched)
        assert isinstance(branched.optimizer, keras.optimizers.Adam)
        assert branched.loss == "sparse_categorical_crossentropy"

    def test_branch_is_for_images(self, write, tmp_path):
        x = np.random.default_rng(0).random((400, 6), np.float32)
        np.savez(tmp_path / "table.npz", x=x, y=np.arange(400) % 4)
        made = model_sources.get(write(compiled()))(hk.data.load(str(tmp_path / "table.npz")), seed=1, steps=5)
        assert not hk.models.has_branch(made.model)

    def test_branch_of_a_subclassed_model(self, build):
        made = build(SUBCLASSED.replace("BODY", "pass"))
        assert hk.models.has_branch(made.model)
        assert len(made.model.trainable_variables) == 6

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (SUBCLASSED.replace("BODY", "def train_step(self, data): return {}"), "with a `train_step` of its own"),
            (compiled(loss="raw").replace("'raw'", "lambda y, z: y"), "its config"),
        ],
        ids=["training", "loss"],
    )
    def test_what_a_branch_would_lose(self, build, body, message):
        """Without one it is trained as it is."""
        with pytest.raises(ModelError, match=rf"{message}.*rain.*without one \(`--no-branch`\)") as raised:
            build(body)
        assert len(str(raised.value).splitlines()) == 1
        assert not hk.models.has_branch(build(body, branch=False).model)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("return None", r"mine.py:make must return a compiled Keras model.*Received: NoneType"),
            (
                "raise KeyError('conv9')",
                r"mine.py:make must return a compiled Keras model.*Received: KeyError: 'conv9'",
            ),
            ("return dense(shape, classes)", "must be a compiled model, with a loss. Received: one without"),
            (
                "model = dense(shape, classes, 7)\nmodel.compile('adam', 'mse')\nreturn model",
                r"does not fit digits. The model must have one output of shape \(batch, 10\)",
            ),
            (
                "model = dense((5, 5, 1), classes)\nmodel.compile('adam', 'mse')\nreturn model",
                "does not fit digits. The model must be a classifier of inputs of shape",
            ),
            (
                "x = keras.Input(shape)\ny = layers.Dense(classes)(layers.Flatten()(x))\n"
                "model = keras.Model(x, [y, y])\nmodel.compile('adam', ['mse', 'mse'])\nreturn model",
                "does not fit digits. The model must have one output",
            ),
            (
                compiled().replace("return model", "model.trainable = False\nreturn model"),
                "weights that can be trained",
            ),
            (compiled().replace("return model", "return model, {'epochs': 3}"), "a dictionary of `class_weight`"),
            (
                compiled().replace("return model", "return model, {'class_weight': {'owl': 2}}"),
                "from classes of digits to numbers of at least 0. Received: {'owl': 2}",
            ),
        ],
    )
    def test_bad(self, build, body, message):
        with pytest.raises(ModelError, match=message) as raised:
            build(body)
        assert len(str(raised.value).splitlines()) == 1


class TestFile:
    def test_goes_on_from_its_weights_with_an_optimizer_that_starts_anew(self, digits, tmp_path):
        keras.utils.set_random_seed(0)
        model = hk.models.small_cnn((8, 8, 1), 10, seed=3)
        model.fit(digits.train.x, digits.train.y, verbose=0)
        path = str(tmp_path / "trained.keras")
        model.save(path)
        made = model_sources.get(path, branch=False)(digits, seed=9, steps=5).model
        assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), model.get_weights(), strict=True))
        assert int(model.optimizer.iterations) > 0
        assert int(made.optimizer.iterations) == 0

    def test_not_compiled(self, digits, tmp_path):
        path = str(tmp_path / "plain.keras")
        keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)
        with pytest.raises(ModelError, match=r"plain\.keras must be a compiled model"):
            model_sources.get(path)(digits, seed=0, steps=1)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("none.keras", "`model` must be a .keras file that is there. Received: none.keras"),
            ("resnet", "`model` must be file.py:function or package.module:function"),
            ("none.py:make", "`model` must be a function that can be loaded"),
        ],
    )
    def test_no_such_source(self, source, message):
        with pytest.raises(InvalidArgumentError, match=message):
            model_sources.get(source)
