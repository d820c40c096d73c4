"""What is written down of requests, and what is not."""

import errno
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.gateway import log_reading
from honeykeras.gateway.backend import Model
from honeykeras.gateway.detections import Detections
from honeykeras.gateway.events import Events, coarse
from honeykeras.gateway.policy import Logs, Policy
from honeykeras.gateway.request_log import RequestLog


@pytest.fixture
def log(tmp_path):
    """Makes logs of requests in a folder."""
    made = []

    def make(named=lambda client: client, **settings):
        made.append(RequestLog(tmp_path / "logs", lambda: Logs(**settings), named))
        return made[-1]

    return make


@pytest.fixture
def records(gateway, digits, marked):
    for number in range(4):
        gateway.predict(digits.test.x[3 * number : 3 * number + 3], f"10.0.0.{number}")
    gateway.predict(marked, "10.6.6.6")
    return gateway.watching.records


def read(folder):
    files = sorted(map(str, folder.glob("*.tfrecord")))
    raw = tf.data.TFRecordDataset(files).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(each) for each in raw]


class TestRequests:
    def test_are_what_was_asked_and_told(self, log, records, tmp_path):
        written = log()
        for record in records:
            written.answered(record)
        written.close()
        found = read(tmp_path / "logs")
        assert [each.log_metadata.request_origin for each in found] == [record.client for record in records]
        first, record = found[0], records[0]
        request, response = first.predict_log.request, first.predict_log.response
        assert (request.model_spec.name, request.model_spec.signature_name) == ("digits", "serving_default")
        assert request.model_spec.version.value == 1
        np.testing.assert_array_equal(tf.make_ndarray(request.inputs["inputs"]), record.inputs["inputs"])
        assert set(response.outputs) == {"probabilities"}, "no verdict"
        np.testing.assert_array_equal(
            tf.make_ndarray(response.outputs["probabilities"]), record.outputs["probabilities"]
        )
        beside = [json.loads(line) for line in (tmp_path / "logs" / "requests-00000001.jsonl").read_text().splitlines()]
        assert [each["sequence"] for each in beside] == [1, 2, 3, 4, 5]
        assert beside[0]["time"] == pytest.approx(record.time)

    def test_of_images_as_they_came(self, log, gateway, digits, tmp_path):
        files = [tf.io.encode_png(np.round(each * 255).astype(np.uint8)).numpy() for each in digits.test.x[:2]]
        given = {"image_bytes": np.array(files, object)}
        gateway._run(gateway.guard.ask(Model("digits"), "predict_images", given, "me"))
        written = log()
        written.answered(gateway.watching.records[-1])
        written.close()
        (found,) = read(tmp_path / "logs")
        assert tf.make_ndarray(found.predict_log.request.inputs["image_bytes"]).tolist() == files
        with pytest.raises(InvalidArgumentError):
            log_reading.export_clean(tmp_path / "logs", tmp_path / "clean.npz")

    def test_are_private(self, log, tmp_path):
        log().close()
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "logs").iterdir()} == {0o600}

    def test_rotate_and_stay_within_a_size(self, log, records, tmp_path):
        written = log(file_size=20_000, total_size=60_000)
        for _ in range(40):
            for record in records[:4]:
                written.answered(record)
        written.close()
        files = sorted((tmp_path / "logs").glob("*.tfrecord"))
        assert len(files) > 1
        assert sum(path.stat().st_size for path in files) <= 60_000
        assert all(path.with_suffix(".jsonl").exists() for path in files)
        assert int(files[0].stem[-8:]) > 1
        assert read(tmp_path / "logs")

    def test_go_on_in_a_new_file(self, log, records, tmp_path):
        for _ in range(2):
            written = log()
            written.answered(records[0])
            written.close()
        assert len(list((tmp_path / "logs").glob("*.tfrecord"))) == 2
        assert len(read(tmp_path / "logs")) == 2

    def test_of_a_sample(self, log, records, tmp_path):
        written = log(sample=0.3)
        for _ in range(400):
            written.answered(records[0])
        written.close()
        assert 70 <= len(read(tmp_path / "logs")) + written.dropped <= 170
        assert read(tmp_path / "logs")[0].log_metadata.sampling_config.sampling_rate == 0.3

    def test_name_clients_as_they_are_told_to(self, log, records, tmp_path):
        written = log(named=lambda client: "somebody")
        written.answered(records[0])
        written.close()
        assert read(tmp_path / "logs")[0].log_metadata.request_origin == "somebody"
        assert b"10.0.0.0" not in (tmp_path / "logs" / "requests-00000001.tfrecord").read_bytes()

    def test_a_full_disk_is_counted_and_keeps_nobody_waiting(self, log, records, monkeypatch):
        written = log()

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(written, "_log", full)
        for record in records:
            written.answered(record)
        written.close()
        assert written.dropped == len(records)
        assert written.written == 0

    def test_a_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError):
            RequestLog(tmp_path / "file" / "logs", Logs, str)


class TestClean:
    """A detector can be calibrated on what clients sent."""

    @pytest.fixture
    def written(self, log, records, tmp_path):
        made = log()
        for record in records:
            made.answered(record)
        made.close()
        return tmp_path / "logs"

    def test_is_a_data_set(self, written, tmp_path, digits):
        counts = log_reading.export_clean(written, tmp_path / "clean.npz", without=["10.6.6.6"])
        assert counts == (12, 4)
        with np.load(tmp_path / "clean.npz") as found:
            np.testing.assert_allclose(found["x"], digits.test.x[:12])
            assert found["y"].shape == (12,)

    def test_a_detector_is_calibrated_on_it(self, log, tmp_path, gateway, digits, detector):
        for start in range(0, 600, 50):
            gateway.predict(digits.train.x[start : start + 50], f"10.0.0.{start}")
        made = log()
        for record in gateway.watching.records:
            made.answered(record)
        made.close()
        log_reading.export_clean(tmp_path / "logs", tmp_path / "clean.npz")
        data = hk.data.load(str(tmp_path / "clean.npz"))
        before = detector.threshold
        other = hk.Detector(detector.watermark).fit(detector.model, extractor=detector.extractor)
        other.calibrate(data.everything(), 0.05)
        assert other.calibration.samples == 600
        assert detector.threshold == before
        assert np.mean(other.score(digits.train.x[:600]) > other.threshold) <= 0.05

    def test_no_client_is_the_measure_of_all(self, written, tmp_path):
        assert log_reading.export_clean(written, tmp_path / "clean.npz", per_client=2) == (10, 5)

    def test_of_nobody(self, written, tmp_path):
        others = [f"10.0.0.{number}" for number in range(4)]
        with pytest.raises(InvalidArgumentError, match="requests of other clients"):
            log_reading.export_clean(written, tmp_path / "clean.npz", without=["10.6.6.6", *others])
        assert not (tmp_path / "clean.npz").exists()

    def test_what_a_killed_writer_left_is_passed_over(self, written, tmp_path):
        file = written / "requests-00000001.tfrecord"
        file.write_bytes(file.read_bytes()[:-7])
        assert log_reading.export_clean(written, tmp_path / "clean.npz") == (12, 4)

    def test_something_else(self, tmp_path):
        with pytest.raises(StorageError, match="must hold requests"):
            log_reading.files_of(tmp_path)


class TestEvents:
    def events(self, records, named=lambda client: client):
        stream = io.StringIO()
        events = Events(named, stream)
        for record in records:
            events.answered(record)
        events.refused("digits", "serving_default", "UNAVAILABLE", 0.1)
        events.refused("digits", "serving_default", "INVALID_ARGUMENT", 0.1)
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_tell_who_what_and_why(self, records):
        *_, accused, failed = self.events(records)
        assert accused["event"] == "accused"
        assert accused["client"] == "10.6.6.6"
        assert accused["queries"] == 60
        assert accused["actions"] == ["decoy"]
        assert (accused["policy"], accused["shadow"], accused["version"]) == (1, False, 1)
        assert failed["code"] == "UNAVAILABLE"

    def test_numbers_are_in_steps(self, records):
        """Exact ones beside their inputs are equations in the key."""
        for event in self.events(records):
            if "score" in event:
                assert round(event["score"] / 0.05, 6) == round(event["score"] / 0.05)
                assert event["evidence"] * 2 == round(event["evidence"] * 2)

    def test_name_clients_as_they_are_told_to(self, records):
        assert "10.6.6.6" not in json.dumps(self.events(records, lambda client: "somebody"))

    @pytest.mark.parametrize(("value", "step"), [(None, None), (float("nan"), None), (1.26, 1.5), (-0.2, 0.0)])
    def test_coarse(self, value, step):
        assert coarse(value) == step


class TestDetections:
    def test_are_kept_up_to_a_number(self, records, tmp_path):
        kept = Detections(lambda: Policy(logs=Logs(flagged=3)).logs, tmp_path / "flagged")
        for _ in range(2):
            for record in records:
                kept.answered(record)
        kept.close()
        assert kept.dropped == 0
        files = sorted((tmp_path / "flagged").iterdir())
        assert len(files) == 3
        flagged = records[-1].inputs["inputs"][records[-1].flags]
        with np.load(files[-1]) as found:
            np.testing.assert_array_equal(found["value"], flagged[-1])
            assert str(found["client"]) == "10.6.6.6"
        assert files[-1].stat().st_mode & 0o777 == 0o600
        np.testing.assert_array_equal(kept.latest[0].value, flagged[-1])

    def test_none(self, records, tmp_path):
        kept = Detections(lambda: Logs(flagged=0), tmp_path / "flagged")
        kept.answered(records[-1])
        kept.close()
        assert not list((tmp_path / "flagged").iterdir())
