"""Every kind of source, with real files; and what cannot be used, each told in one sentence."""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.data import cutting
from honeykeras.errors import DatasetError, InvalidArgumentError

PARTS = ("train", "detector", "calibration", "test")


@pytest.fixture(scope="module")
def images():
    """Images and labels: 60 small ones of three classes, all different."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 6, 5, 3), np.uint8), np.arange(60) % 3


def by_part(data):
    return {part: {(x.tobytes(), int(y)) for x, y in zip(*read(data, part), strict=True)} for part in PARTS}


def read(data, part):
    return getattr(data, part).x, getattr(data, part).y


def everything(data):
    return set().union(*by_part(data).values())


def expected(x, y):
    return {(image.tobytes(), int(label)) for image, label in zip(x.astype(np.float32) / 255, y, strict=True)}


@pytest.fixture
def write(tmp_path):
    """A function: writes a module of one function, and returns its source."""

    def writer(body):
        path = tmp_path / "mine.py"
        indented = textwrap.indent(textwrap.dedent(body), "    ")
        path.write_text(f"import numpy as np\nimport tensorflow as tf\n\n\ndef load():\n{indented}\n")
        return f"{path}:load"

    return writer


def test_npz_of_one_part_is_cut(tmp_path, images):
    x, y = images
    np.savez_compressed(tmp_path / "plates.npz", x=x, y=y)
    data = hk.data.load(str(tmp_path / "plates.npz"))
    assert (data.name, data.num_classes, data.class_names, data.input_shape) == ("plates", 3, None, (6, 5, 3))
    assert [len(getattr(data, part)) for part in PARTS] == [27, 10, 10, 13]
    assert everything(data) == expected(x, y)
    assert sum(map(len, by_part(data).values())) == 60


def test_a_split_that_comes_with_the_data_is_respected(tmp_path, images):
    x, y = images
    np.savez(tmp_path / "a.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    found = by_part(hk.data.load(str(tmp_path / "a.npz")))
    assert found["test"] == expected(x[40:], y[40:])
    assert found["train"] | found["detector"] | found["calibration"] == expected(x[:40], y[:40])


def test_validation_is_for_the_detector(write, images):
    source = write(
        """
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60, 6, 5, 3), np.uint8), np.arange(60) % 3
        return {"train": (x[:30], y[:30]), "validation": (x[30:50], y[30:50]), "test": (x[50:], y[50:])}
        """
    )
    x, y = images
    found = by_part(hk.data.load(source))
    assert found["train"] == expected(x[:30], y[:30])
    assert found["detector"] | found["calibration"] == expected(x[30:50], y[30:50])
    assert len(found["detector"]) == len(found["calibration"]) == 10


def test_keras_own_form(write):
    source = write(
        """
        x = np.arange(40 * 9, dtype=np.uint8).reshape(40, 3, 3)
        y = (np.arange(40) % 2).reshape(40, 1)
        return (x[:30], y[:30]), (x[30:], y[30:])
        """
    )
    data = hk.data.load(source)
    # Grey images get their one channel.
    assert data.input_shape == (3, 3, 1)
    assert len(data.test) == 10


def save_images(folder, x, y, names=("ant", "bee", "cat")):
    for number, (image, label) in enumerate(zip(x, y, strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(place / f"{number:03}.png", image, scale=False)


def test_folder_of_images(tmp_path, images):
    save_images(tmp_path / "pets", *images)
    (tmp_path / "pets" / ".hidden").mkdir()
    data = hk.data.load(str(tmp_path / "pets"))
    assert (data.name, data.class_names) == ("pets", ("ant", "bee", "cat"))
    assert everything(data) == expected(*images)
    # Though files are sorted by class, no part begins with one class.
    assert len(set(data.train.head(8).y)) > 1


def test_a_folder_by_the_name_of_the_digits(tmp_path, monkeypatch):
    """Programs leave such: examples take the name of the data set for that of their output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert hk.data.load("digits").source == "digits"
    with pytest.raises(DatasetError, match="must hold a subfolder of images"):
        hk.data.load("./digits")


def test_folder_with_splits(tmp_path, images):
    x, y = images
    save_images(tmp_path / "pets" / "train", x[:40], y[:40])
    save_images(tmp_path / "pets" / "test", x[40:], y[40:])
    assert by_part(hk.data.load(str(tmp_path / "pets")))["test"] == expected(x[40:], y[40:])


def test_folder_of_grey_images_and_of_sizes(tmp_path, images):
    x, y = images
    save_images(tmp_path / "grey", x[..., :1], y)
    assert hk.data.load(str(tmp_path / "grey")).input_shape == (6, 5, 1)
    for number, image in enumerate(x[:30]):
        keras.utils.save_img(
            tmp_path / "grey" / "ant" / f"more{number}.png", np.tile(image[..., :1], (2, 3, 1)), scale=False
        )
    with pytest.raises(DatasetError, match=r"of one shape that can be read. Received: .*grey.ant.*png.*`image_size`"):
        hk.data.load(str(tmp_path / "grey"))
    data = hk.data.load(str(tmp_path / "grey"), image_size=(4, 4))
    assert data.input_shape == (4, 4, 1)
    # Still on the levels of a file.
    assert np.array_equal(data.train.x, np.round(data.train.x * 255).astype(np.float32) / 255)


def test_damaged_image_is_named(tmp_path, images):
    save_images(tmp_path / "pets", *images)
    (tmp_path / "pets" / "bee" / "004.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(DatasetError, match=r"Received: .* at .*/pets/bee/004.png"):
        hk.data.load(str(tmp_path / "pets"))


def tfrecords(folder, x, y):
    """As tensorflow-datasets writes them: two splits, and what is in them."""
    import tensorflow_datasets as tfds

    class Made(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        name = "made"

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=x.shape[1:]),
                "kind": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features), supervised_keys=("image", "kind")
            )

        def _split_generators(self, _):
            return {"train": self._generate_examples(0, 40), "test": self._generate_examples(40, 60)}

        def _generate_examples(self, begin, end):
            yield from ((number, {"image": x[number], "kind": int(y[number])}) for number in range(begin, end))

    builder = Made(data_dir=folder)
    builder.download_and_prepare()
    return builder.data_path


def test_tfrecords_with_what_is_in_them(tmp_path, images):
    x, y = images
    place = tfrecords(tmp_path, x, y)
    data = hk.data.load(str(place))
    assert (data.name, data.class_names) == ("made", ("a", "b", "c"))
    assert by_part(data)["test"] == expected(x[40:], y[40:])

    features = tmp_path / "features.json"
    (place / "features.json").rename(features)
    (place / "dataset_info.json").unlink()
    again = hk.data.load(str(place), features=features)
    assert by_part(again) == by_part(data)
    with pytest.raises(DatasetError, match=r"must be a folder of TFRecords, with dataset_info.json and features.json"):
        hk.data.load(str(place))
    features.write_text(json.dumps({"type": "nothing"}))
    with pytest.raises(DatasetError, match=r"or with `features` given. Received:"):
        hk.data.load(str(place), features=features)


def test_features_are_for_tfrecords(tmp_path, images):
    np.savez(tmp_path / "a.npz", x=images[0], y=images[1])
    with pytest.raises(InvalidArgumentError, match="`features` is for a folder of TFRecords"):
        hk.data.load(str(tmp_path / "a.npz"), features=tmp_path)


@pytest.mark.parametrize("batched", [False, True])
def test_function_that_returns_a_dataset(write, images, batched):
    source = write(
        f"""
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60, 6, 5, 3), np.uint8), np.arange(60) % 3
        samples = tf.data.Dataset.from_tensor_slices((x, tf.one_hot(y, 3)))
        return samples.batch(7) if {batched} else samples
        """
    )
    data = hk.data.load(source)
    assert data.name == "mine-load"
    assert everything(data) == expected(*images)


def test_labels_that_are_texts(write):
    source = write(
        """
        x = np.random.default_rng(0).random((40, 4), np.float32)
        return {"train": (x, np.array(["yes", "no"] * 20, object))}
        """
    )
    data = hk.data.load(source)
    assert data.class_names == ("no", "yes")
    # No image: nothing is known to be customary.
    assert data.epsilon == 0.1


def test_labels_with_gaps_keep_their_names(tmp_path, images):
    np.savez(tmp_path / "a.npz", x=images[0], y=np.array([10, 20, 40])[images[1]].astype(np.float64))
    data = hk.data.load(str(tmp_path / "a.npz"))
    assert (data.num_classes, data.class_names) == (3, ("10", "20", "40"))
    assert everything(data) == expected(*images)


def test_names_of_classes(write):
    source = write(
        """
        x = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
        return {"train": (x, np.arange(40) % 2), "class_names": ["cat", "dog"]}
        """
    )
    assert hk.data.load(source).class_names == ("cat", "dog")


STREAM = """
    def samples():
        order = np.random.default_rng(1).permutation(60) if {shuffled} else np.arange(60)
        x = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 3), np.uint8)
        for number in order:
            yield x[number], f"class {{number % 3}}"

    spec = tf.TensorSpec((6, 5, 3), tf.uint8), tf.TensorSpec((), tf.string)
    return tf.data.Dataset.from_generator(samples, output_signature=spec)
"""


def test_parts_hold_out_of_memory_and_in_another_order(write, monkeypatch):
    held = hk.data.load(write(STREAM.format(shuffled=False)))
    monkeypatch.setattr(cutting, "_MOST_BYTES", 1000)
    for shuffled in (False, True):
        streamed = hk.data.load(write(STREAM.format(shuffled=shuffled)))
        assert by_part(streamed) == by_part(held)
        assert streamed.digest == held.digest
        assert streamed.class_names == ("class 0", "class 1", "class 2")


def test_seed_decides_the_parts_of_a_stream(write, monkeypatch):
    monkeypatch.setattr(cutting, "_MOST_BYTES", 1000)
    source = write(STREAM.format(shuffled=False))
    one, other = hk.data.load(source), hk.data.load(source, seed=1)
    assert by_part(one)["test"] != by_part(other)["test"]
    assert everything(one) == everything(other)


def test_equal_samples_stay_together(tmp_path, images):
    x, y = images
    np.savez(tmp_path / "a.npz", x=np.concatenate([x, x]), y=np.concatenate([y, y]))
    found = by_part(hk.data.load(str(tmp_path / "a.npz")))
    assert sum(map(len, found.values())) == 60


@pytest.mark.parametrize("most", [1000, 2**20])
def test_augmentation_inside_is_refused(write, monkeypatch, most):
    monkeypatch.setattr(cutting, "_MOST_BYTES", most)
    source = write(
        """
        x = np.random.default_rng(0).random((60, 6, 5, 3), np.float32)
        samples = tf.data.Dataset.from_tensor_slices((x, np.arange(60) % 3))
        # Whatever seed is set elsewhere.
        draw = lambda: tf.ensure_shape(tf.numpy_function(np.random.default_rng().random, [], tf.float64), [])
        return samples.map(lambda x, y: (x * tf.cast(draw(), tf.float32), y))
        """
    )
    with pytest.raises(DatasetError, match=r"must give the same samples in every pass. Received: others in the second"):
        hk.data.load(source)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.zeros((9, 3)), np.arange(9) % 3 * 0", "at least two classes. Received: 0"),
        ("return np.zeros((9, 3)), np.arange(9) % 3", "enough different samples for its four parts"),
        (
            "return np.zeros((9, 3)), np.arange(8)",
            r"as many labels as samples.*x of shape \(9, 3\) and y of shape \(8,\)",
        ),
        ("return np.zeros((0, 3)), np.zeros(0)", "as many labels as samples, at least one"),
        ("return np.zeros(9), np.arange(9)", "as many labels as samples"),
        ("return np.zeros((9, 3), int), np.arange(9)", r"bytes \(uint8\).*Received: int64 of shape"),
        ("return np.zeros((9, 3)), np.arange(9) / 2", "labels that are whole numbers, texts or one-hot"),
        ("return np.full((9, 3), 2.0), np.arange(9) % 3", r"input range, \[0, 1\]. Received: 2 in sample 0 of train"),
        (
            "x = np.random.rand(60, 3); x[41, 1] = np.nan; return x, np.arange(60) % 3",
            r"Received: nan in sample 41 of train",
        ),
        ("return [[1, 2], [3]], np.arange(2)", "must be an array, or lists that are of one length"),
        ("return 7", "must give arrays"),
        ("return {}", "splits called train, validation, test"),
        ("return {'mine': (np.zeros((9, 3)), np.arange(9))}", "splits called train, validation, test.*mine"),
        ("return {'test': (np.zeros((9, 3)), np.arange(9))}", "must have a split 'train'"),
        (
            "x, y = np.random.rand(60, 3), np.arange(60) % 3; return {'train': (x, y), 'test': (x[:, :2], y)}",
            "of one shape and type in all splits",
        ),
        (
            "x = np.random.rand(60, 3); return {'train': (x, np.arange(60) % 3), 'test': (x, np.arange(60) % 4)}",
            "classes of its training part: 0, 1, 2. Received: 3",
        ),
        (
            "x = np.random.rand(60, 3); return {'train': (x, np.arange(60) % 3), 'class_names': ['a', 'b']}",
            "classes of its training part: 0, 1. Received: 2",
        ),
        (
            "x = np.random.rand(60, 3); return {'train': (x, np.arange(60) % 2), 'class_names': ['a', 'a']}",
            "a name of its own for each class",
        ),
        ("return {'train': (np.zeros((9, 3)), np.arange(9)), 'class_names': 'ab'}", "`class_names` as a list of texts"),
        ("raise RuntimeError('no disk\\nand more')", r"must return a data set. Received: RuntimeError: no disk$"),
        ("return tf.data.Dataset.range(9)", r"must give pairs \(x, y\)"),
        ("return tf.data.Dataset.from_tensors((np.zeros(3), 1)).repeat()", "must end"),
        ("return tf.data.Dataset.from_tensors((np.zeros(3), 1)).take(0)", "must hold samples in train. Received: none"),
        ("return tf.data.Dataset.from_tensors((np.zeros(3), 1.5))", "labels that are whole numbers"),
    ],
)
def test_what_cannot_be_used(write, body, message):
    with pytest.raises((DatasetError, InvalidArgumentError), match=message):
        hk.data.load(write(body))


def test_error_amid_a_stream_names_the_sample(write):
    source = write(
        """
        def samples():
            for number in range(9):
                yield np.zeros(3 if number < 7 else 2), number % 2

        spec = tf.TensorSpec([None]), tf.TensorSpec((), tf.int64)
        return tf.data.Dataset.from_generator(samples, output_signature=spec)
        """
    )
    with pytest.raises(DatasetError, match=r"that can be read. Received: .* at sample 7 of train"):
        hk.data.load(source)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3)}, "must hold x_train, y_train and perhaps x_test, y_test, or x and y. Received: a"),
        ({"x": np.array([object()]), "y": np.zeros(1)}, "must be an .npz file of plain arrays"),
    ],
)
def test_npz_that_is_none(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        hk.data.load(str(tmp_path / "a.npz"))


def test_npz_is_read_though_pythons_parser_miscounts(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.arange(300.0).reshape(100, 3) / 300, y=np.arange(100) % 2)
    read, calls = np.load, []

    def miscounting(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=162, after=14)")
        return read(*args, **kwargs)

    monkeypatch.setattr(np, "load", miscounting)
    assert hk.data.load(str(tmp_path / "a.npz")).input_shape == (3,)
    assert len(calls) == 2


def test_file_that_is_no_npz(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DatasetError, match=r"must be an .npz file of plain arrays. Received:"):
        hk.data.load(str(tmp_path / "a.npz"))


def test_folder_without_classes(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="must hold a subfolder of images"):
        hk.data.load(str(tmp_path))


MEMORY = """
import resource, sys
import numpy as np, tensorflow as tf
import honeykeras as hk
from honeykeras.data import cut, Labelled

def samples():
    for number in range({count}):
        image = np.full((64, 64, 3), number % 251, np.uint8)
        image[0, :2, 0] = divmod(number // 251, 256)
        yield image, number % 2

spec = tf.TensorSpec((64, 64, 3), tf.uint8), tf.TensorSpec((), tf.int64)
made = tf.data.Dataset.from_generator(samples, output_signature=spec)
data = cut(Labelled("made", {{"train": made}}), seed=0, input_range=hk.InputRange())
{work}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


READING = """
for part in (data.train, data.test):
    for _ in part.dataset().batch(128):
        pass
"""

# A network so small that most of the time goes into the data, and an extractor that is hardly trained.
ALL_STEPS = """
import keras
from honeykeras import training, model_sources
from honeykeras.detection import detector
fit = detector.fit_extractor
detector.fit_extractor = lambda *args, **options: fit(*args, **(options | {"steps": 5}))

def build(data, *, seed, steps):
    layers = [keras.Input(data.input_shape), keras.layers.AveragePooling2D(16), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model_sources.Classifier(model)

key = hk.WatermarkKey.generate(data.input_shape, 2)
trained = training.train(data, hk.Honeypot(key), epochs=1, build=build)
used = [hk.attacks.PGD(0.1, steps=2)]
hk.evaluate(trained.model, key, data, baseline=trained.baseline, attacks=used, samples=100)
"""


@pytest.mark.slow
@pytest.mark.parametrize("work", [READING, ALL_STEPS], ids=["reading", "all steps"])
def test_memory_does_not_grow_with_the_data(work):
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", MEMORY.format(count=count, work=work)],
                check=True,
                capture_output=True,
            ).stdout
        )
        for count in (10_000, 200_000)
    )
    assert abs(many - few) < 200
