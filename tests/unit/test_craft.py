import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import _progress
from honeykeras.attacks import PGD
from honeykeras.attacks.craft import craft
from honeykeras.attacks.shards import Shards, feature_description
from honeykeras.errors import InvalidArgumentError, ModelError, StorageError

SIZE, SHARD_SIZE = 50, 20
ARRAYS = ("x", "x_adv", "y", "success", "queries", "gradients")

formats = pytest.mark.parametrize("file_format", ["npz", "tfrecord"])


@pytest.fixture(scope="module")
def attack():
    """Shared, so that it is compiled once."""
    return PGD(0.1, steps=3, seed=1)


@pytest.fixture(scope="module")
def samples(digits):
    return digits.test.x[:SIZE], digits.test.y[:SIZE]


@pytest.fixture(scope="module")
def dataset(samples):
    return tf.data.Dataset.from_tensor_slices(samples)


@pytest.fixture(scope="module")
def whole(classifier, attack, samples):
    """What the attack gives in one go."""
    return attack.generate(classifier, *samples).quantize(classifier)


@pytest.fixture
def run(classifier, attack, dataset, tmp_path):
    """Crafts in one folder, by default with the same arguments."""

    def run(data=dataset, *, model=classifier, attack=attack, **arguments):
        options = {"shard_size": SHARD_SIZE, "verbose": 0, **arguments}
        return craft(model, attack, data, tmp_path / "folder", **options)

    return run


@pytest.fixture(scope="module")
def made(classifier, attack, dataset, tmp_path_factory):
    """A finished folder of each format."""
    folders = {file_format: tmp_path_factory.mktemp(file_format) / "folder" for file_format in ("npz", "tfrecord")}
    for file_format, folder in folders.items():
        craft(classifier, attack, dataset, folder, shard_size=SHARD_SIZE, file_format=file_format, verbose=0)
    return folders


@pytest.fixture
def finished(made, tmp_path):
    """Puts a copy of one where `run` crafts."""

    def finished(file_format="npz"):
        return Shards.open(shutil.copytree(made[file_format], tmp_path / "folder"))

    return finished


@pytest.fixture
def attacked(attack, monkeypatch):
    """Where in the data set the attack has been run."""
    starts, generate = [], attack.generate

    def count(*arguments, first, **options):
        starts.append(first)
        return generate(*arguments, first=first, **options)

    monkeypatch.setattr(attack, "generate", count)
    return starts


def snapshot(folder):
    """Every file below a folder: its hash, inode and time of change."""
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_ino,
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_same(got, expected, *, rounding=False):
    """All arrays equal; after `rounding`, the levels of a few values may differ."""
    for name in ARRAYS:
        one, other = getattr(got, name), getattr(expected, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert np.mean(one != other) <= (0.005 if rounding else 0), name
    assert (got.targeted, got.input_range) == (expected.targeted, expected.input_range)


class TestResult:
    @formats
    def test_is_that_of_the_attack_in_one_go(self, file_format, run, whole, tmp_path):
        shards = run(file_format=file_format)
        names = [f"shard-0000{number}.{file_format}" for number in range(3)]
        assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["craft.json", *names]
        assert (len(shards), shards.successes, shards.success_rate) == (SIZE, whole.success.sum(), whole.success.mean())
        assert 0 < shards.success_rate < 1
        assert_same(shards.load(), whole)
        opened = Shards.open(str(tmp_path / "folder"))
        assert opened == shards
        assert_same(opened.load(), whole)

    @formats
    def test_as_a_data_set(self, file_format, run, whole):
        streamed = run(file_format=file_format).dataset()
        assert streamed.cardinality() == SIZE
        (batch,) = streamed.batch(SIZE).as_numpy_iterator()
        assert_same(dataclasses.replace(whole, **batch), whole)

    def test_records_are_plain_tensorflow(self, run, whole, tmp_path):
        """Read without this library, as its documentation states them."""
        run(file_format="tfrecord")
        images, numbers = tf.io.FixedLenFeature([8, 8, 1], tf.float32), tf.io.FixedLenFeature([], tf.int64)
        features = {"x": images, "x_adv": images} | dict.fromkeys(ARRAYS[2:], numbers)
        assert feature_description([8, 8, 1]) == features
        files = sorted(str(path) for path in (tmp_path / "folder").glob("*.tfrecord"))
        records = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, features))
        (batch,) = records.batch(SIZE).as_numpy_iterator()
        assert_same(dataclasses.replace(whole, **batch | {"success": batch["success"] == 1}), whole)

    def test_without_levels_is_not_rounded(self, run, classifier, attack, samples):
        expected = attack.generate(classifier, *samples)
        crafted = run(levels=None).load()
        assert_same(crafted, expected)
        assert not np.array_equal(crafted.x_adv, expected.quantize(classifier).x_adv)

    @pytest.mark.parametrize(
        "form",
        [
            lambda data: data.batch(7),
            lambda data: data.map(lambda x, y: (x, tf.one_hot(y, 10))).batch(30),
            lambda data: data.map(lambda x, y: (x, y[None])).batch(50, drop_remainder=True),
            lambda data: data.map(lambda x, y: (x, y, 1.0)),
            lambda data: data.filter(lambda x, y: True),
            lambda data: data.map(lambda x, y: (tf.cast(x, tf.float64), tf.cast(y, tf.uint8))),
        ],
        ids=["batches", "one-hot", "columns", "weights", "unknown-size", "dtypes"],
    )
    def test_whatever_the_form_of_the_data_set(self, form, run, dataset, whole):
        assert_same(run(form(dataset)).load(), whole)

    @pytest.mark.parametrize(
        "form",
        [
            lambda data: data.map(lambda x, y: x),
            lambda data: data.map(lambda x, y: x).batch(7),
        ],
        ids=["single", "batches"],
    )
    def test_labels_default_to_predictions(self, form, run, dataset, classifier, attack, samples):
        expected = attack.generate(classifier, samples[0]).quantize(classifier)
        assert not np.array_equal(expected.y, samples[1])
        assert_same(run(form(dataset)).load(), expected)

    @pytest.mark.parametrize(("shard_size", "batch_size"), [(7, 3), (50, 50), (1000, 20)])
    def test_whatever_the_size_of_shards_and_batches(self, shard_size, batch_size, run, whole):
        assert_same(run(shard_size=shard_size, batch_size=batch_size).load(), whole, rounding=True)

    def test_mask(self, run, classifier, attack, samples):
        mask = np.zeros((8, 8, 1), bool)
        mask[2:6] = True
        crafted = run(mask=mask).load()
        assert_same(crafted, attack.generate(classifier, *samples, mask=mask).quantize(classifier))
        assert np.array_equal(crafted.x_adv[:, ~mask], crafted.x[:, ~mask])

    def test_targeted(self, run, classifier, samples):
        x, y = samples
        attack = PGD(0.1, steps=3, targeted=True)
        data = tf.data.Dataset.from_tensor_slices((x, (y + 1) % 10))
        assert_same(run(data, attack=attack).load(), attack.generate(classifier, x, (y + 1) % 10).quantize(classifier))

    @pytest.mark.parametrize(("batches", "shown"), [(False, "50/50"), (True, "50 image [")])
    def test_progress_bar(self, batches, shown, run, dataset, capfd, monkeypatch):
        monkeypatch.setattr(_progress, "_DELAY", 0.0)
        run(dataset.batch(7) if batches else dataset, verbose=1)
        assert shown in capfd.readouterr().err


class TestContinued:
    def test_finished_folder_is_returned_at_once(self, run, finished, attack, attacked, tmp_path):
        shards, before = finished(), snapshot(tmp_path)
        again = PGD.from_config(attack.get_config())
        assert run(attack=again) == shards
        assert not attacked
        assert not again._compiled
        assert snapshot(tmp_path) == before

    @formats
    @pytest.mark.parametrize("lost", [(1,), (0, 2)])
    def test_only_what_is_missing_is_made(self, lost, file_format, run, finished, whole, attacked, tmp_path):
        finished(file_format)
        before = snapshot(tmp_path / "folder")
        for number in lost:
            (tmp_path / "folder" / f"shard-0000{number}.{file_format}").unlink()
        with pytest.raises(StorageError, match=r"is not finished\. Call `craft` again"):
            Shards.open(tmp_path / "folder")
        assert_same(run(file_format=file_format).load(), whole)
        assert attacked == [SHARD_SIZE * number for number in lost]
        after = snapshot(tmp_path / "folder")
        kept = [f"shard-0000{number}.{file_format}" for number in range(3) if number not in lost]
        assert [after[name] for name in kept] == [before[name] for name in kept]

    def test_cut_off_before_the_end_was_written_down(self, run, finished, whole, attacked, tmp_path):
        finished()
        path = tmp_path / "folder" / "craft.json"
        document = json.loads(path.read_bytes())
        path.write_text(json.dumps({name: document[name] for name in ("version", "settings", "shards")}))
        with pytest.raises(StorageError, match="is not finished"):
            Shards.open(tmp_path / "folder")
        assert_same(run(verbose=1).load(), whole)
        assert not attacked
        assert Shards.open(tmp_path / "folder").successes == whole.success.sum()

    @pytest.mark.parametrize("begun", [True, False])
    def test_scratch_of_a_killed_process_is_removed(self, begun, run, finished, tmp_path):
        if begun:
            finished()
        scratch = tmp_path / "folder" / ".staged.craft.json.killed"
        (scratch / "new").mkdir(parents=True)
        (scratch / "new" / "craft.json").write_text("{half")
        (scratch / "lock").touch()
        assert len(run()) == SIZE
        assert not scratch.exists()

    def test_with_batches_of_other_sizes(self, run, finished, dataset, attacked, tmp_path):
        finished()
        (tmp_path / "folder" / "shard-00001.npz").unlink()
        run(dataset.batch(7), batch_size=3)
        assert attacked == [20]


def other_model(model):
    other = keras.models.clone_model(model)
    other.set_weights([1.01 * weight for weight in model.get_weights()])
    return other


class TestRefused:
    """With one error, and every file left as it is."""

    def refused(self, error, message, folder, action):
        before = snapshot(folder)
        with pytest.raises(error) as raised:
            action()
        assert message in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
        assert snapshot(folder) == before

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"attack": PGD(0.1, steps=3, seed=2)}, "attack.seed=2, not 1. Choose"),
            ({"attack": PGD(0.1, steps=4, seed=1)}, "attack.step_size=0.0625, not 0.0833"),
            ({"attack": PGD(0.1, steps=4, seed=1)}, "nor do these agree: attack.steps. Choose"),
            ({"levels": None}, "levels=None, not 256"),
            ({"shard_size": 25}, "shard_size=25, not 20"),
            ({"file_format": "tfrecord"}, "file_format='tfrecord', not 'npz'"),
            ({"mask": np.zeros((8, 8, 1), bool)}, "mask="),
        ],
    )
    def test_other_settings(self, changed, message, run, finished, tmp_path):
        finished()
        (tmp_path / "folder" / "shard-00001.npz").unlink()
        self.refused(InvalidArgumentError, message, tmp_path, lambda: run(**changed))

    def test_other_model(self, run, finished, classifier, tmp_path):
        finished()
        self.refused(InvalidArgumentError, "model=", tmp_path, lambda: run(model=other_model(classifier)))

    def test_labels_predicted_before(self, run, dataset, tmp_path):
        run(dataset.map(lambda x, y: x))
        self.refused(InvalidArgumentError, "labels='given', not 'predicted'", tmp_path, run)

    @pytest.mark.parametrize(
        "other",
        [
            lambda data: data.skip(1),
            lambda data: data.map(lambda x, y: (x, (y + 1) % 10)),
            lambda data: data.take(30),
            lambda data: data.take(40),
            lambda data: data.take(10),
        ],
        ids=["order", "labels", "shorter", "shorter-by-a-shard", "within-a-shard"],
    )
    def test_other_data_set(self, other, run, finished, dataset, tmp_path):
        finished()
        self.refused(InvalidArgumentError, "The data set must ", tmp_path, lambda: run(other(dataset)))

    def test_longer_data_set(self, run, finished, dataset, tmp_path):
        finished()
        message = "shard-00002.npz: it holds 10 examples instead of 20. Remove it and call `craft` to make it anew."
        self.refused(StorageError, message, tmp_path, lambda: run(dataset.concatenate(dataset)))

    def test_other_order_further_on(self, run, finished, dataset, tmp_path):
        """Of an unfinished folder, every shard is compared."""
        finished()
        (tmp_path / "folder" / "shard-00002.npz").unlink()
        data = dataset.take(20).concatenate(dataset.skip(21)).concatenate(dataset.skip(20).take(1))
        self.refused(InvalidArgumentError, "shard-00001.npz was made of", tmp_path, lambda: run(data))

    def test_folder_that_holds_something_else(self, run, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "thesis.tex").touch()
        self.refused(StorageError, "holds what would be lost, thesis.tex for one", tmp_path, run)

    def test_file(self, run, tmp_path):
        (tmp_path / "folder").write_bytes(b"not a folder")
        self.refused(StorageError, "is a file and is not replaced by a folder", tmp_path, run)

    @pytest.mark.parametrize(
        "damage",
        [lambda content: content[: len(content) // 2 + 7], lambda content: b"", lambda content: content[:-1]],
        ids=["cut-between-records", "empty", "last-byte"],
    )
    @formats
    def test_damaged_shard(self, file_format, damage, run, finished, tmp_path):
        finished(file_format)
        path = tmp_path / "folder" / f"shard-00000.{file_format}"
        path.write_bytes(damage(path.read_bytes()))
        message = f"Cannot read {path}: "
        self.refused(StorageError, message, tmp_path, lambda: run(file_format=file_format))
        self.refused(StorageError, message, tmp_path, lambda: Shards.open(tmp_path / "folder"))

    @formats
    def test_flipped_bits(self, file_format, finished, whole, tmp_path):
        shards = finished(file_format)
        path = tmp_path / "folder" / f"shard-00001.{file_format}"
        content = path.read_bytes()

        def told(place):
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            try:
                assert_same(shards.load(), whole)
            except StorageError:
                return True
            return False

        places = range(0, len(content), len(content) // 30)
        assert all(map(told, places))

    def test_shard_in_another_place(self, finished, tmp_path):
        shards = finished()
        (tmp_path / "folder" / "shard-00002.npz").replace(tmp_path / "folder" / "shard-00001.npz")
        self.refused(StorageError, "its SHA-256 is not the one that craft.json states", tmp_path, shards.load)

    @pytest.mark.parametrize("content", ["{half", "[]", '{"version": 2, "settings": {}}'])
    def test_damaged_settings(self, content, run, finished, tmp_path):
        finished()
        (tmp_path / "folder" / "craft.json").write_text(content)
        message = "craft.json must be what `craft` wrote, of version 1. Received: "
        self.refused(StorageError, message, tmp_path, run)
        self.refused(StorageError, message, tmp_path, lambda: Shards.open(tmp_path / "folder"))

    @pytest.mark.parametrize("name", ["absent", "empty", "file"])
    def test_opening_what_is_no_such_folder(self, name, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").touch()
        action = lambda: Shards.open(tmp_path / name)  # noqa: E731
        self.refused(StorageError, "must be a folder that `craft` has filled", tmp_path, action)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"file_format": "csv"}, "`file_format` must be one of ['npz', 'tfrecord']. Received: file_format='csv'."),
            ({"shard_size": 0}, "`shard_size` must be a whole number of at least 1"),
            ({"levels": 1}, "`levels` must be a whole number of at least 2"),
            ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
            ({"mask": np.ones((4, 4, 1), bool)}, "`mask` must be bool, of shape (8, 8, 1)"),
        ],
    )
    def test_settings(self, arguments, message, run, tmp_path):
        with pytest.raises(InvalidArgumentError) as raised:
            run(**arguments)
        assert message in str(raised.value)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("form", "message"),
        [
            (lambda data: data.take(0), "must hold at least one sample"),
            (lambda data: data.filter(lambda x, y: False), "must hold at least one sample"),
            (lambda data: data.repeat(), "must end. Received: an endless one"),
            (lambda data: data.batch(5).repeat(), "must end. Received: an endless one"),
            (lambda data: data.map(lambda x, y: {"image": x, "label": y}), "must be x, (x, y) or (x, y, ...)"),
            (lambda data: data.map(lambda x, y: (x[:4], y)), "shape of the model's, (8, 8, 1), batched or not"),
            (lambda data: data.batch(2).batch(2), "shape of the model's, (8, 8, 1), batched or not"),
            (lambda data: data.map(lambda x, y: (tf.cast(x, tf.uint8), y)), "Scale integer images first"),
            (lambda data: data.map(lambda x, y: (2 * x, y)), "`x` must lie in [0, 1]. Received: values in [0, 2]"),
        ],
        ids=["empty", "filtered", "endless", "endless-batches", "dicts", "shape", "rank", "dtype", "range"],
    )
    def test_data_sets(self, form, message, run, dataset, tmp_path):
        with pytest.raises(InvalidArgumentError) as raised:
            run(form(dataset))
        assert message in str(raised.value)
        assert not list(tmp_path.iterdir())

    def test_targeted_attack_without_labels(self, run, dataset, tmp_path):
        with pytest.raises(InvalidArgumentError, match="must hold the labels to reach"):
            run(dataset.map(lambda x, y: x), attack=PGD(0.1, targeted=True))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            ([keras.layers.Dense(10)], "must have one input and state its shape"),
            ([keras.Input((8, 8, 1)), keras.layers.Dense(10)], r"must have one output of shape \(batch, classes\)"),
        ],
        ids=["no-shape", "no-classifier"],
    )
    def test_models(self, layers, message, run, tmp_path):
        with pytest.raises(ModelError, match=message):
            run(model=keras.Sequential(layers))
        assert not list(tmp_path.iterdir())

    def test_attack_that_cannot_describe_itself(self, run, tmp_path, monkeypatch):
        attack = PGD(0.2)
        monkeypatch.setattr(attack, "get_config", lambda: {"function": print})
        with pytest.raises(InvalidArgumentError, match=r"`attack.get_config\(\)` must give plain data"):
            run(attack=attack)
        assert not list(tmp_path.iterdir())


# Processors are divided before TensorFlow starts, hence in a process of its own.
DISTRIBUTED = """
import json, sys
import numpy as np, tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import honeykeras as hk
from honeykeras.attacks import PGD
from honeykeras.attacks.craft import craft

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x, y = hk.data.load("digits").test.x[:23], hk.data.load("digits").test.y[:23]
plain = hk.models.load(sys.argv[1])
with strategy.scope():
    mirrored = hk.models.load(sys.argv[1])
alone = PGD(0.1, steps=3).generate(plain, x, y)
results = {"replicas": strategy.num_replicas_in_sync}
for name, model in {"plain": plain, "mirrored": mirrored}.items():
    attack, traces = PGD(0.1, steps=3), []
    perturb = attack.perturb
    attack.perturb = lambda *arguments: traces.append(1) or perturb(*arguments)

    def differences(got, expected, count=23):
        names = ("x", "x_adv", "y", "success", "queries", "gradients")
        assert all(getattr(got, name).shape == getattr(expected, name)[:count].shape for name in names)
        pairs = [(getattr(got, name), getattr(expected, name)[:count]) for name in names]
        return max(float(np.mean(np.abs(one.astype(float) - other) > 1e-5)) for one, other in pairs)

    with strategy.scope():
        results[f"{name}, last of one image"] = differences(attack.generate(model, x, y, batch_size=11), alone)
        results[f"{name}, one image"] = differences(attack.generate(model, x[:1], y[:1]), alone, 1)
        data = tf.data.Dataset.from_tensor_slices((x, y))
        shards = craft(model, attack, data, f"{sys.argv[2]}/{name}", shard_size=9, batch_size=4, verbose=0)
        results[f"{name}, crafted"] = differences(shards.load(), alone.quantize(plain))
    results[f"{name}, traces"] = len(traces)
craft(plain, attack, data, f"{sys.argv[2]}/mirrored", shard_size=9, verbose=0)  # The same model.
print(json.dumps(results))
"""


def test_under_a_strategy(classifier, tmp_path):
    """On two replicas as on one, compiled once for all batches, whether or not the model is the strategy's."""
    hk.models.save(classifier, tmp_path / "model.keras")
    command = [sys.executable, "-c", DISTRIBUTED, str(tmp_path / "model.keras"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.pop("replicas") == 2
    # MirroredStrategy traces once for each replica.
    assert results.pop("plain, traces") == results.pop("mirrored, traces") == 2
    assert len(results) == 6
    assert max(results.values()) < 0.005, results
