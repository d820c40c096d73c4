"""An artifact for the trusted host: it decides as Python does, answers by its policy, and opens for its key alone."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow_serving.apis import prediction_log_pb2

import honeykeras as hk
from honeykeras import attacks, export
from honeykeras.errors import InvalidArgumentError, LeakError, ModelError, StorageError
from honeykeras.export import leaks, policies, warmup

ATOL = 1e-5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def ask(version, signature, **inputs):
    """What a loaded artifact answers in Python's loader."""
    given = {name: tf.constant(values) for name, values in inputs.items()}
    return {name: value.numpy() for name, value in export_of(version)[signature](**given).items()}


def export_of(version):
    loaded = tf.saved_model.load(str(version))
    # Its functions do not keep its resources alive.
    KEPT.append(loaded)
    return loaded.signatures


KEPT = []


@pytest.fixture(scope="session")
def queries(digits, classifier):
    """Thousands of inputs: clean ones, noisy ones, attacked ones, noise."""
    rng = np.random.default_rng(0)
    clean = np.concatenate([digits.train.x, digits.test.x])
    noisy = np.clip(clean + 0.1 * rng.standard_normal(clean.shape, np.float32), 0, 1)
    made = attacks.PGD(epsilon=0.3, steps=5).generate(classifier, digits.test.x, digits.test.y)
    return np.concatenate([clean, noisy, made.x_adv, rng.random((500, 8, 8, 1), np.float32)]).astype(np.float32)


@pytest.fixture(scope="session")
def decided(keyed, queries):
    """What the artifact says of them, once."""
    signatures = export_of(keyed)
    extended = {name: value.numpy() for name, value in signatures["extended"](inputs=tf.constant(queries)).items()}
    return extended, signatures["serving_default"](inputs=tf.constant(queries))["probabilities"].numpy()


def freeze(function, folder):
    """Writes a function as a graph without variables."""
    folder.mkdir()
    frozen = convert_variables_to_constants_v2(function)
    (folder / "graph.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())


def with_policy(classifier, detector, sealing_key, folder, policy, **options):
    sealing_key.save(folder / "model.key")
    return export.save_guarded(classifier, folder / "serving" / "m", detector, sealing_key, policy=policy, **options)


class TestDecision:
    def test_is_pythons_on_thousands_of_inputs(self, decided, detector, queries):
        extended, _ = decided
        assert len(queries) > 2000
        expected = sigmoid(detector.score(queries) - detector.threshold)
        np.testing.assert_allclose(extended["score"], expected, rtol=0, atol=ATOL)
        # Both sides of the threshold are there, and all but those that lie on it are judged alike.
        near = np.abs(expected - 0.5) < ATOL
        flags = detector.flag(queries)
        assert 0.05 < flags.mean() < 0.95
        assert near.mean() < 0.01
        assert np.array_equal(extended["flag"][~near], flags[~near])
        assert np.array_equal(extended["flag"], extended["score"] > 0.5) or near.any()

    def test_probabilities_are_the_models_own(self, decided, classifier, queries):
        extended, _ = decided
        expected = tf.nn.softmax(classifier.predict(queries, verbose=0)).numpy()
        np.testing.assert_allclose(extended["probabilities"], expected, rtol=0, atol=ATOL)

    def test_has_the_batch_first(self, decided, queries):
        extended, _ = decided
        assert extended["score"].shape == extended["flag"].shape == (len(queries),)
        assert extended["score"].dtype == np.float32
        assert extended["flag"].dtype == bool

    def test_does_not_depend_on_the_rest_of_the_batch(self, version, decided, queries):
        extended, _ = decided
        alone = ask(version, "extended", inputs=queries[7:8])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], extended[name][7], rtol=0, atol=ATOL)

    @pytest.mark.parametrize("name", ["logistic", "full", "trapdoor", "paper"])
    def test_is_pythons_for_every_kind_of_detector(
        self, name, classifier, detector, digits, sealing_key, queries, tmp_path
    ):
        key = hk.WatermarkKey(bytes(32), (8, 8, 1), 10, pattern=hk.patterns.Scattered()) if name == "paper" else None
        made = attacks.PGD(epsilon=0.3, steps=5).generate(classifier, digits.detector.x, digits.detector.y)
        samples = hk.detection.Samples(digits.train.x, held_out=digits.detector.x, adversarial=made.x_adv)
        key = key or hk.WatermarkKey(bytes(range(32)), (8, 8, 1), num_classes=10)
        fitted = hk.detection.KINDS[name](key)
        fitted.adopt(detector)
        fitted.fit(classifier, samples).calibrate(digits.calibration.x, 0.1)
        folder = with_policy(classifier, fitted, sealing_key, tmp_path, "observe")
        found = ask(folder, "extended", inputs=queries)
        expected = sigmoid(fitted.score(queries) - fitted.threshold)
        np.testing.assert_allclose(found["score"], expected, rtol=0, atol=ATOL)


class TestPolicy:
    @pytest.mark.parametrize("policy", export.POLICIES)
    def test_answers_where_the_detector_flags(self, policy, classifier, detector, sealing_key, queries, tmp_path):
        folder = with_policy(classifier, detector, sealing_key, tmp_path, policy)
        judged = ask(folder, "extended", inputs=queries[:600])
        said = ask(folder, "serving_default", inputs=queries[:600])["probabilities"]
        flag, honest = judged["flag"], judged["probabilities"]
        assert flag.any()
        assert not flag.all()
        np.testing.assert_array_equal(said[~flag], honest[~flag])
        assert np.isfinite(said).all()
        if policy == "observe":
            np.testing.assert_array_equal(said, honest)
        elif policy == "reject":
            assert not said[flag].any()
        elif policy == "uniform":
            np.testing.assert_allclose(said[flag], 0.1)
        elif policy == "mislead":
            np.testing.assert_array_equal(said.argmax(axis=1), honest.argmax(axis=1))
            np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
            assert (said[flag] != honest[flag]).any(axis=1).all()
        else:
            order = np.argsort(-honest[flag], axis=1)
            np.testing.assert_array_equal(np.sort(said[flag]), np.sort(honest[flag]))
            np.testing.assert_array_equal(said[flag].argmax(axis=1), order[:, 1])
            changed = (said[flag] != honest[flag]).sum(axis=1)
            assert (changed == 2).all()

    def test_misled_is_who_climbs_by_scores(self):
        """Within an interval the margin goes down where the model's goes up, for logits as for probabilities."""
        margins = np.arange(0.05, 0.95, 0.1)
        logits = np.zeros((len(margins), 4), np.float32)
        logits[:, 0] = margins + 1
        logits[:, 2] = 1
        said = policies.mislead(tf.constant(logits)).numpy()
        np.testing.assert_allclose(said[:, 0] - said[:, 2], 1 - margins, atol=1e-5)
        np.testing.assert_array_equal(said[:, [1, 3]], 0)
        said = policies.mislead(tf.nn.softmax(logits)).numpy()
        np.testing.assert_allclose(np.log(said[:, 0] / said[:, 2]), 1 - margins, atol=1e-4)

    @pytest.mark.parametrize("row", [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3, [-3, -3, -9], [0, 0, 0], [30, -30, 2]])
    def test_of_any_row_the_first_class_stays_first(self, row):
        said = policies.mislead(tf.constant([row], tf.float32)).numpy()
        assert np.isfinite(said).all()
        assert said.argmax() == np.argmax(row)

    def test_holds_for_all_signatures_that_clients_use(self, version, decided, queries):
        """Else another signature would be the way around it."""
        extended, said = decided
        flagged = np.flatnonzero(extended["flag"])[:20]
        examples = [
            tf.train.Example(
                features=tf.train.Features(
                    feature={"inputs": tf.train.Feature(float_list=tf.train.FloatList(value=row.ravel()))}
                )
            ).SerializeToString()
            for row in queries[flagged]
        ]
        classified = ask(version, "classify", inputs=examples)
        np.testing.assert_allclose(classified["scores"], said[flagged], rtol=0, atol=ATOL)
        pixels = np.round(queries * 255).astype(np.uint8)
        content = [tf.io.encode_png(image).numpy() for image in pixels[flagged]]
        scaled = (pixels[flagged] / np.float32(255)).astype(np.float32)
        images = ask(version, "predict_images", image_bytes=content)
        np.testing.assert_allclose(
            images["probabilities"],
            ask(version, "serving_default", inputs=scaled)["probabilities"],
            rtol=0,
            atol=ATOL,
        )
        assert ask(version, "extended", inputs=scaled)["flag"].any()

    def test_must_be_one_of_them(self, classifier, detector, sealing_key, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`policy` must be one of"):
            with_policy(classifier, detector, sealing_key, tmp_path, "nan")
        assert not (tmp_path / "serving").exists()


class TestLoaderOfTensorFlowServing:
    """The same artifact in the C++ loader, by way of a C program."""

    def test_runs_every_signature(self, server, version, decided, queries):
        extended, said = decided
        pixels = np.round(queries[:5] * 255).astype(np.uint8)
        content = [tf.io.encode_png(image).numpy() for image in pixels]
        example = tf.train.Example()
        example.features.feature["inputs"].float_list.value.extend(queries[0].ravel().tolist())
        default, judged, images, classes = server.ask(
            [version],
            [
                (0, "serving_default", queries),
                (0, "extended", queries),
                (0, "predict_images", content),
                (0, "classify", [example.SerializeToString()]),
            ],
        )
        np.testing.assert_allclose(default["probabilities"], said, rtol=0, atol=ATOL)
        for name in ("probabilities", "score", "flag"):
            near = np.abs(extended["score"] - 0.5) < ATOL
            np.testing.assert_allclose(judged[name][~near], extended[name][~near], rtol=0, atol=ATOL)
        assert images["probabilities"].shape == (5, 10)
        assert classes["classes"].tolist() == [[str(number) for number in range(10)]] or (
            classes["classes"].astype(int).tolist() == [list(range(10))]
        )
        np.testing.assert_allclose(classes["scores"][0], said[0], rtol=0, atol=ATOL)

    def test_logs_nothing_of_the_opener_when_it_loads(self, server, keyed):
        _, logged, loaded = server.run(1, keyed, log_level=1)
        assert loaded
        assert "UINT32" not in logged

    def test_finds_the_key_in_a_folder_that_was_moved(self, server, version, tmp_path, queries):
        moved = tmp_path / "moved here"
        moved.mkdir()
        shutil.move(tmp_path / "serving", moved / "serving")
        shutil.move(tmp_path / "model.key", moved / "model.key")
        (answer,) = server.ask([moved / "serving" / "digits" / "1"], [(0, "extended", queries[:2])])
        assert answer["score"].shape == (2,)

    def test_loads_a_folder_that_cannot_be_written(self, server, version, queries):
        places = [version, *version.rglob("*")]
        for place in places:
            place.chmod(0o500 if place.is_dir() else 0o400)
        try:
            (answer,) = server.ask([version], [(0, "extended", queries[:2])])
            assert answer["score"].shape == (2,)
        finally:
            for place in places:
                place.chmod(0o700)

    def test_two_versions_with_keys_of_their_own_do_not_mix(
        self, server, version, classifier, detector, queries, digits, tmp_path
    ):
        """As while one follows the other."""
        other = hk.Detector(hk.WatermarkKey(bytes(32), (8, 8, 1), 10)).fit(classifier, extractor=detector.extractor)
        other.calibrate(digits.calibration.x, 0.3)
        key = export.SealingKey.generate()
        key.save(tmp_path / "other.key")
        second = export.save_guarded(
            classifier, version.parent, other, key, key_paths=["../../../other.key"], policy="observe"
        )
        first, another = server.ask([version, second], [(0, "extended", queries[:300]), (1, "extended", queries[:300])])
        for answer, made_of in ((first, detector), (another, other)):
            expected = sigmoid(made_of.score(queries[:300]) - made_of.threshold)
            np.testing.assert_allclose(answer["score"], expected, rtol=0, atol=ATOL)

    def test_fails_without_a_key_file(self, server, version, tmp_path):
        (tmp_path / "model.key").unlink()
        error = server.load_error(version)
        assert "No key file was found at" in error
        assert f"/run/secrets/model.key, {version}/../../../model.key" in error

    def test_fails_with_another_key(self, server, version, tmp_path):
        export.SealingKey.generate().save(tmp_path / "model.key", overwrite=True)
        assert "Another key is needed, or the file was altered" in server.load_error(version)

    @pytest.mark.parametrize("content", [b"", b"f" * 63, b"f" * 65, bytes(31), b"g" * 64])
    def test_fails_with_a_key_file_of_another_form(self, server, version, tmp_path, content):
        (tmp_path / "model.key").write_bytes(content)
        assert "The key file must hold 64 hexadecimal digits, or 32 bytes" in server.load_error(version)

    def test_fails_with_a_key_file_that_may_not_be_read(self, server, version, tmp_path):
        (tmp_path / "model.key").chmod(0)
        assert "model.key; Permission denied" in server.load_error(version)

    def test_fails_with_a_folder_for_a_key_file(self, server, version, tmp_path):
        (tmp_path / "model.key").unlink()
        (tmp_path / "model.key").mkdir()
        assert "model.key" in server.load_error(version)

    def test_fails_with_an_altered_ciphertext(self, server, version):
        file = version / "assets" / "parameters"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        assert "Another key is needed, or the file was altered" in server.load_error(version)

    def test_fails_without_the_ciphertext(self, server, version):
        (version / "assets" / "parameters").unlink()
        assert "parameters" in server.load_error(version)

    def test_errors_hold_no_key_and_no_telling_word(self, server, version, tmp_path, sealing_key):
        export.SealingKey.generate().save(tmp_path / "model.key", overwrite=True)
        error = server.load_error(version).replace(str(tmp_path), "")
        for word in leaks.TELLTALES:
            assert word.decode() not in error.lower()
        assert sealing_key._secret.hex() not in error


class TestSecrecy:
    @pytest.fixture
    def needles(self, detector, sealing_key):
        return leaks.needles(detector, sealing_key)

    def test_no_file_holds_a_secret_or_a_telling_word(self, version, needles):
        assert len(needles) > 100
        assert leaks.scan(version, needles) == []

    def test_the_scan_finds_each_of_them_in_each_file(self, version, needles):
        """Its control."""
        paths = sorted(path for path in version.rglob("*") if path.is_file())
        for path in paths:
            path.write_bytes(path.read_bytes() + b"".join(needles.values()))
        found = set(leaks.scan(version, needles))
        assert found == {(path.relative_to(version).as_posix(), name) for path in paths for name in needles}

    @pytest.mark.parametrize("word", leaks.TELLTALES)
    def test_the_scan_finds_words_in_graphs_and_names(self, version, word):
        graph_file = version / "saved_model.pb"
        graph_file.write_bytes(graph_file.read_bytes() + word.upper())
        (version / word.decode()).touch()
        found = leaks.scan(version, {})
        assert ("saved_model.pb", word.decode()) in found
        assert (word.decode(), word.decode()) in found

    def test_what_is_loaded_and_saved_again_holds_no_secret(self, version, detector, sealing_key, tmp_path):
        """Checkpoints and further artifacts. The sealing key is the process's, and never in a file."""
        loaded = tf.saved_model.load(str(version))
        tf.train.Checkpoint(model=loaded).write(str(tmp_path / "again" / "checkpoint"))
        tf.saved_model.save(loaded, str(tmp_path / "again" / "1"))
        assert leaks.scan(tmp_path / "again", leaks.needles(detector, sealing_key)) == []

    def test_a_frozen_graph_holds_no_secret(self, version, detector, sealing_key, tmp_path):
        """Freezing turns variables into constants; this is none."""
        loaded = tf.saved_model.load(str(version))
        freeze(loaded.signatures["extended"], tmp_path / "frozen")
        assert leaks.scan(tmp_path / "frozen", leaks.needles(detector, sealing_key)) == []

    @pytest.mark.parametrize("way", ["saved", "checkpoint", "frozen"])
    def test_a_variable_is_found_however_it_is_written(self, detector, tmp_path, way):
        """The control of the tests above: the very same numbers in a variable leak."""
        module = tf.Module()
        module.values = tf.Variable(detector.secret)
        module.weight = tf.Variable(detector.networks[0].get_weights()[0])
        module.sums = tf.function(lambda: (tf.reduce_sum(module.values), tf.reduce_sum(module.weight)))
        if way == "saved":
            tf.saved_model.save(module, str(tmp_path / "1"))
        elif way == "checkpoint":
            tf.train.Checkpoint(module=module).write(str(tmp_path / "checkpoint"))
        else:
            freeze(module.sums.get_concrete_function(), tmp_path / "frozen")
        found = {name for _, name in leaks.scan(tmp_path, leaks.needles(detector))}
        assert "parameters, beginning, <f8" in found
        assert "weight 0, beginning, <f4" in found

    def test_a_watermark_in_a_warmup_request_is_found(self, version, watermark_key, needles):
        """A further control; requests are made of noise."""
        patterns = hk.Watermark(watermark_key).patterns().numpy()
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(patterns))
        with tf.io.TFRecordWriter(str(version / warmup.FILE)) as writer:
            writer.write(log.SerializeToString())
        assert (warmup.FILE.as_posix(), "pattern 0, beginning, <f4") in leaks.scan(version, needles)

    def test_a_leak_is_not_published(self, classifier, detector, sealing_key, tmp_path):
        secret = tf.constant(detector.watermark.patterns())
        inputs = keras.Input((8, 8, 1))
        similar = keras.layers.Lambda(lambda x: tf.einsum("bhwc,phwc->bp", x, secret))(inputs)
        leaky = keras.Model(inputs, keras.layers.Add()([classifier(inputs), similar]))
        with pytest.raises(LeakError, match=r"pattern 0.* in saved_model\.pb"):
            export.save(leaky, tmp_path / "m", keep_secret=detector)
        assert list((tmp_path / "m").iterdir()) == []
        # Without the detector to compare with, nobody can know.
        export.save(leaky, tmp_path / "m")

    def test_a_telling_name_is_not_published(self, tmp_path):
        model = keras.Sequential(
            [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3, name="honeypot")]
        )
        with pytest.raises(LeakError, match=r"'honey' in saved_model\.pb"):
            export.save(model, tmp_path / "m")
        assert list((tmp_path / "m").iterdir()) == []


class TestInspect:
    def test_tells_what_an_operator_wants_to_know(self, version, sealing_key):
        found = export.inspect(version)
        assert found["version"] == "1"
        assert set(found["signatures"]) == {
            "serving_default",
            "predict_images",
            "classify",
            "extended",
            "extended_predict_images",
            "extended_classify",
        }
        assert found["signatures"]["classify"]["method"] == "tensorflow/serving/classify"
        assert found["signatures"]["extended"]["outputs"] == {
            "flag": "bool (batch)",
            "probabilities": "float32 (batch, 10)",
            "score": "float32 (batch)",
        }
        assert (found["name"], found["role"]) == ("digits", "hosted")
        assert found["class_names"] == [str(number) for number in range(10)]
        assert found["sealing_key_id"] == sealing_key.key_id
        assert found["key_paths"] == ["/run/secrets/model.key", "../../../model.key"]
        assert found["warmup_requests"] == 8
        assert found["has_manifest"]
        assert not found["is_signed"]
        assert sealing_key._secret.hex() not in str(found)

    def test_tells_what_needs_no_key(self, classifier, tmp_path):
        found = export.inspect(export.save(classifier, tmp_path / "m"))
        assert found["sealing_key_id"] is found["key_paths"] is None
        assert set(found["signatures"]) == {"serving_default", "predict_images", "classify"}

    @pytest.mark.parametrize(("content", "error"), [(None, StorageError), (b"nonsense", ModelError), (b"", ModelError)])
    def test_refuses_what_is_no_artifact(self, tmp_path, content, error):
        if content is not None:
            (tmp_path / "saved_model.pb").write_bytes(content)
        with pytest.raises(error):
            export.inspect(tmp_path)
