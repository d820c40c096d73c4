"""`honeykeras audit`: the gateway's verdicts, from its logs."""

import dataclasses
import json
import shutil
import stat
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import prediction_log_pb2

import honeykeras as hk
from honeykeras import evidence, export
from honeykeras.audit import Artifact, FittedDetector, accused, audit, blocks, pipeline
from honeykeras.audit.blocks import Block, Queries
from honeykeras.cli.main import run as command
from honeykeras.errors import InvalidArgumentError, KeyFileError, StorageError
from honeykeras.export import signing
from honeykeras.gateway import prediction_logs
from honeykeras.gateway.policy import Logs
from honeykeras.gateway.request_log import RequestLog


@pytest.fixture(scope="module")
def artifact(home):
    return Artifact(home / "serving" / "digits" / "1", home / "signing.pub")


@pytest.fixture(scope="module")
def traffic(gateway_before, in_process, digits, marked):
    """What four honest clients and two attackers sent, by turns."""
    gateway = gateway_before(in_process)
    for turn in range(6):
        for number in range(4):
            start = 5 * (4 * turn + number)
            gateway.predict(digits.test.x[start : start + 5], f"10.0.0.{number}")
        gateway.predict(marked[turn : turn + 1], "10.6.6.6")
        # One in ten, and the same images again.
        gateway.predict(np.concatenate([digits.test.x[9 * turn : 9 * turn + 9], marked[turn : turn + 1]]), "10.6.6.7")
    return gateway


@pytest.fixture(scope="module")
def written(traffic, tmp_path_factory):
    """The log of that, in several files."""
    return write_log(traffic.watching.records, tmp_path_factory.mktemp("written") / "logs")


@pytest.fixture
def log(written, tmp_path):
    """A copy of it, for a test to do with as it likes."""
    return shutil.copytree(written, tmp_path / "logs")


@pytest.fixture(scope="module")
def folder(written, artifact):
    """What an audit of it leaves."""
    audit(written, [artifact], written.parent / "audit", verbose=0)
    return written.parent / "audit"


@pytest.fixture(scope="module")
def found(folder):
    """What that found."""
    return json.loads((folder / "audit.json").read_text())


def write_log(records, folder, **logs):
    written = RequestLog(folder, lambda: Logs(**{"file_size": 20_000, **logs}), lambda client: client)
    for record in records:
        written.answered(record)
    written.close()
    return folder


def classify_log(client, examples):
    """What a server of TensorFlow writes of a request to `classify`."""
    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.request_origin = client
    request = log.classify_log.request
    request.model_spec.name, request.model_spec.signature_name = "digits", "classify"
    for values in examples:
        example = request.input.example_list.examples.add()
        example.features.feature["inputs"].float_list.value.extend(values)
    return log


def run_audit(log, versions, output, **given):
    return audit(log, versions, output, verbose=0, **given)


def stand(found):
    """Who was accused, at which query, and what else must not depend on how the work was cut."""
    return {
        name: (each["accused"], each["first_query"], each["queries"], each["flags"], each["new"], each["statistic"])
        for name, each in found["clients"].items()
    }


class TestVerdicts:
    def test_are_the_gateways(self, traffic, written, found):
        """Live ledger and audit of the complete log: the same accusations."""
        live = dict(traffic.store.known())
        assert found["clients"].keys() == live.keys()
        for name, each in found["clients"].items():
            assert (each["first_query"] or 0, each["queries"], each["flags"]) == (
                live[name].accused_at, live[name].queries, live[name].flags
            ), name  # fmt: skip
        assert found["clients"]["10.6.6.6"]["accused"]
        assert set(accused(found)) <= {"10.6.6.6", "10.6.6.7"}
        assert len(list(written.glob("*.tfrecord"))) > 2

    def test_do_not_depend_on_how_the_log_is_cut(self, traffic, found, log, artifact, tmp_path):
        """In files of other names, and in one file."""
        turned = tmp_path / "turned"
        turned.mkdir()
        for number, file in enumerate(sorted(log.glob("*.tfrecord"), reverse=True)):
            for each in (file, file.with_suffix(".jsonl")):
                shutil.copy(each, turned / f"{number:02d}{each.suffix}")
        one = write_log(traffic.watching.records, tmp_path / "one", file_size=10**9)
        for folder in (turned, one):
            assert stand(run_audit(folder, [artifact], tmp_path / f"{folder.name}-audit")) == stand(found)

    def test_do_not_depend_on_the_workers(self, log, found, artifact, tmp_path):
        two = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
        assert stand(run_audit(log, [artifact], tmp_path / "two", options=two)) == stand(found)

    def test_of_two_replicas_are_by_time(self, traffic, found, artifact, tmp_path):
        for replica in (0, 1):
            write_log(traffic.watching.records[replica::2], tmp_path / "both" / f"replica-{replica}")
        assert stand(run_audit(tmp_path / "both", [artifact], tmp_path / "both-audit")) == stand(found)

    def test_name_when_and_by_which_query(self, traffic, found):
        found = found["clients"]["10.6.6.6"]
        records = [each for each in traffic.watching.records if each.client == "10.6.6.6"]
        assert found["accused_on"] == pytest.approx(records[found["first_query"] - 1].time, abs=1e-5)
        assert (found["first_seen"], found["last_seen"]) == pytest.approx((records[0].time, records[-1].time), abs=1e-5)

    def test_of_a_sample_say_so(self, traffic, artifact, tmp_path, monkeypatch):
        drawn = iter([0, 2**31] * 99)
        monkeypatch.setattr("honeykeras.gateway.request_log.secrets.randbelow", lambda end: next(drawn))
        log = write_log(traffic.watching.records, tmp_path / "sampled", sample=0.5)
        found = run_audit(log, [artifact], tmp_path / "audit")
        assert found["log"]["sampled"] == pytest.approx(0.5)
        assert found["log"]["queries"] < sum(len(each.flags) for each in traffic.watching.records)
        assert "The log holds 50.00 % of the requests" in (tmp_path / "audit" / "index.html").read_text()


class TestVersions:
    def test_of_a_detector_file(self, detector, classifier, log, found, tmp_path):
        """The same accusations as by the artifact that has the detector."""
        detector.save(tmp_path / "detector.hk", "open")
        classifier.save(tmp_path / "model.keras")
        (tmp_path / "passphrase").write_text("open\n")
        (tmp_path / "passphrase").chmod(0o600)
        source = FittedDetector(tmp_path / "detector.hk", tmp_path / "model.keras", "digits", tmp_path / "passphrase")
        with pytest.warns(UserWarning, match=r"no training\.json"):
            by_detector = run_audit(log, [source], tmp_path / "audit")
        assert by_detector["versions"] == [detector.detector_id]
        # What near duplicates are is another's clean inputs to say: more of them here.
        for name, each in found["clients"].items():
            assert [by_detector["clients"][name][part] for part in ("first_query", "flags")] == [
                each[part] for part in ("first_query", "flags")
            ]

    def test_the_one_whose_key_led_is_named(self, log, artifact, classifier, watermark_key, detector, digits, tmp_path):
        """An attack on the first version is found by its key, though another one is served by now."""
        fitted = hk.Detector(watermark_key.wrong_key(0)).fit(classifier, extractor=detector.extractor)
        fitted.calibrate(digits.calibration.x, max_fpr=0.02)
        key = export.SealingKey.generate()
        key.save(tmp_path / "model.key")
        export.SealingKey.generate().save(tmp_path / "other.key")
        observer = evidence.Observer(fitted, digits.calibration.x)
        folder = tmp_path / "serving" / "digits"
        second = export.save_guarded(classifier, folder, fitted, key, observer=observer, version=2)
        signing.write_key_pair(tmp_path / "signing.pem", tmp_path / "signing.pub")
        signing.sign(second, tmp_path / "signing.pem")
        current = Artifact(second, tmp_path / "signing.pub", (tmp_path / "other.key", tmp_path / "model.key"))
        found = run_audit(log, [current, artifact], tmp_path / "audit")
        assert found["versions"] == ["2", "1"]
        attacker = found["clients"]["10.6.6.6"]
        assert (attacker["accused"], attacker["version"]) == (True, "1")
        assert attacker["versions"]["2"]["first_query"] is None
        # Of flags, the version in question is asked: an attack that its key did not lead is none to it.
        assert attacker["flags"] <= 1
        alone = run_audit(log, [current], tmp_path / "alone")
        assert not accused(alone)
        with pytest.raises(InvalidArgumentError, match="Among the sealing keys must be"):
            dataclasses.replace(current, sealing_keys=(tmp_path / "other.key",)).open()

    def test_each_have_their_part_of_alpha(self, log, artifact, home, tmp_path):
        with pytest.raises(InvalidArgumentError, match="must be named once"):
            run_audit(log, [artifact, artifact], tmp_path / "audit")
        one = run_audit(log, [artifact], tmp_path / "alone", alpha=1e-3 / 2)
        # Copies of a version have one number: they are called by where they are.
        copy = shutil.copytree(artifact.path.parent, tmp_path / "copy" / "digits") / "1"
        other = dataclasses.replace(artifact, path=copy, sealing_keys=(home / "model.key",))
        found = run_audit(log, [artifact, other], tmp_path / "both")
        assert found["versions"] == [str(artifact.path), str(copy)]
        for name, each in found["clients"].items():
            assert each["first_query"] == one["clients"][name]["first_query"]
            assert each["versions"][str(copy)] == each["versions"][str(artifact.path)]


class TestDamage:
    def test_is_counted_named_and_set_aside(self, log, artifact, tmp_path):
        files = sorted(log.glob("*.tfrecord"))
        content = bytearray(files[0].read_bytes())
        content[40] ^= 1
        files[0].write_bytes(content)
        files[1].write_bytes(files[1].read_bytes()[:-7])
        content = bytearray(files[2].read_bytes())
        content[0] ^= 1
        files[2].write_bytes(content)
        found = run_audit(log, [artifact], tmp_path / "audit")
        assert found["log"]["set_aside"] == 3
        assert (found["set_aside"][0]["file"], found["set_aside"][0]["record"]) == (str(files[0]), 0)
        assert [each["why"] for each in found["set_aside"]] == [
            "its checksum is wrong",
            "the file ends within a record",
            "its length is damaged, and nothing after it can be found",
        ]
        assert "its checksum is wrong" in (tmp_path / "audit" / "index.html").read_text()

    def test_of_what_the_model_refuses(self, digits, artifact, tmp_path):
        """A request that the model does not take is set aside; those beside it are not."""
        with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
            for number in range(9):
                values = digits.test.x[number].ravel().tolist()[number == 4 :]
                writer.write(classify_log("me", [values]).SerializeToString())
        found = run_audit(tmp_path / "a.tfrecord", [artifact], tmp_path / "audit")
        assert [each["record"] for each in found["set_aside"]] == [4]
        assert "stack traces" not in found["set_aside"][0]["why"]
        assert found["clients"]["me"]["queries"] == 8

    @pytest.mark.parametrize("content", [b"", b"x" * 40], ids=["empty", "noise"])
    def test_of_all(self, artifact, tmp_path, content):
        (tmp_path / "a.tfrecord").write_bytes(content)
        with pytest.raises(InvalidArgumentError, match="must hold requests to the model 'digits'"):
            run_audit(tmp_path / "a.tfrecord", [artifact], tmp_path / "audit")
        assert [each.name for each in tmp_path.iterdir()] == ["a.tfrecord"]

    def test_of_what_is_kept(self, log, artifact, tmp_path, monkeypatch):
        """What was altered between the steps does not open."""
        begun(log, artifact, tmp_path / "audit", monkeypatch)
        file = tmp_path / "audit.partial" / "00000" / blocks.BLOCKS
        content = bytearray(file.read_bytes())
        content[30] ^= 1
        file.write_bytes(content)
        with pytest.raises(KeyFileError, match="does not open"):
            run_audit(log, [artifact], tmp_path / "audit")
        assert not (tmp_path / "audit").exists()


def begun(log, artifact, output, monkeypatch):
    """Cuts an audit off once files were looked through."""
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "judge", lambda stretches, alpha: 1 / 0)
        with pytest.raises(StorageError, match="did not come to its end: ZeroDivisionError"):
            run_audit(log, [artifact], output)
    assert not output.exists()


class TestResuming:
    def test_looks_at_no_file_twice(self, log, found, artifact, tmp_path, monkeypatch):
        begun(log, artifact, tmp_path / "audit", monkeypatch)
        shutil.rmtree(tmp_path / "audit.partial" / "00001")
        looked = []
        look = pipeline._Score._look
        monkeypatch.setattr(
            pipeline._Score, "_look", lambda self, shard, made: looked.append(shard.number) or look(self, shard, made)
        )
        assert stand(run_audit(log, [artifact], tmp_path / "audit")) == stand(found)
        assert looked == [1]
        assert not (tmp_path / "audit.partial").exists()

    def test_of_another_log_is_refused(self, log, artifact, tmp_path, monkeypatch):
        begun(log, artifact, tmp_path / "audit", monkeypatch)
        next(log.glob("*.tfrecord")).unlink()
        with pytest.raises(InvalidArgumentError, match="must be of the same log and settings"):
            run_audit(log, [artifact], tmp_path / "audit")

    def test_by_another_artifact_of_the_same_number_is_refused(self, log, artifact, home, tmp_path, monkeypatch):
        begun(log, artifact, tmp_path / "audit", monkeypatch)
        copy = shutil.copytree(artifact.path.parent, tmp_path / "copy" / "digits") / "1"
        other = dataclasses.replace(artifact, path=copy, sealing_keys=(home / "model.key",))
        with pytest.raises(InvalidArgumentError, match="must be of the same log and settings"):
            run_audit(log, [other], tmp_path / "audit")

    def test_keeps_nothing_in_the_clear(self, log, artifact, tmp_path, monkeypatch, in_process, run):
        begun(log, artifact, tmp_path / "audit", monkeypatch)
        work = tmp_path / "audit.partial"
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
        assert stat.S_IMODE((work / "secret").stat().st_mode) == 0o600
        from honeykeras.gateway.backend import Model

        first = next(each for each in prediction_logs.read(sorted(log.glob("*.tfrecord"))[0]))
        told = run(in_process.run(Model("digits"), "extended_evidence", first.inputs)).outputs
        kept = b"".join(each.read_bytes() for each in work.rglob("*") if each.is_file() and each.name != "secret")
        for name in ("evidence_views", "evidence_projections", "evidence_reading_projections", "score"):
            assert told[name][0].tobytes()[:8] not in kept, name


class TestLogs:
    def test_of_arrays(self, digits, marked, artifact, tmp_path):
        x = np.concatenate([digits.test.x[:20], marked[:8]]).astype(np.float64)
        np.savez_compressed(
            tmp_path / "log.npz", x=x, client=np.array([0] * 20 + [7] * 8), time=np.arange(28)[::-1].copy()
        )
        found = run_audit(tmp_path / "log.npz", [artifact], tmp_path / "audit")
        assert list(found["clients"]) == ["7", "0"]
        assert found["clients"]["7"]["accused"]
        assert (found["clients"]["7"]["first_seen"], found["clients"]["7"]["last_seen"]) == (0, 7)

    def test_without_clients_are_of_one(self, digits, artifact, tmp_path):
        np.savez(tmp_path / "log.npz", x=digits.test.x[:20])
        found = run_audit(tmp_path / "log.npz", [artifact], tmp_path / "audit")
        assert list(found["clients"]) == [""]
        assert found["log"]["without_client"] == found["log"]["without_time"] == 20
        assert "The log names no clients" in (tmp_path / "audit" / "index.html").read_text()

    def test_a_function_can_say_who_asked(self, log, artifact, tmp_path):
        (tmp_path / "who.py").write_text("def who(log):\n    return log.log_metadata.request_origin[:6]\n")
        found = run_audit(log, [artifact], tmp_path / "audit", client_of=f"{tmp_path / 'who.py'}:who")
        assert set(found["clients"]) == {"10.0.0", "10.6.6"}

    def test_of_examples(self, digits, artifact, tmp_path):
        log = classify_log("me", [each.ravel().tolist() for each in digits.test.x[:3]])
        with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
            writer.write(log.SerializeToString())
        found = run_audit(tmp_path / "a.tfrecord", [artifact], tmp_path / "audit")
        assert found["clients"]["me"]["queries"] == 3

    def test_images_of_who_is_accused_are_kept(self, folder):
        images = sorted((folder / "images").glob("*.png"))
        assert images
        assert images[0].read_bytes().startswith(b"\x89PNG")
        assert f"images/{images[0].name}" in (folder / "index.html").read_text()

    def test_flags_are_lines(self, folder, found):
        flags = [json.loads(line) for line in (folder / "flags.jsonl").read_text().splitlines()]
        assert len(flags) == sum(each["flags"] for each in found["clients"].values())
        assert {"client", "file", "record", "row", "query", "time", "score"} == flags[0].keys()
        assert all(round(each["score"] / 0.05, 6).is_integer() for each in flags)


class TestOrder:
    """A client's queries come in order, however blocks overlap, and no longer than they must are they in memory."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.lists(st.one_of(st.integers(0, 9), st.none()), min_size=1, max_size=5)),
            min_size=1,
            max_size=6,
        ),
        st.integers(1, 20),
    )
    def test_is_by_time_then_place(self, given_blocks, stretch):
        made, numbers = [], dict.fromkeys(range(4), 0)
        for start, (shard, times) in enumerate(given_blocks):
            at = blocks.places(len(times))
            at["time"] = [np.nan if each is None else each for each in times]
            at["shard"], at["number"] = shard, numbers[shard] + np.arange(len(times))
            numbers[shard] += len(times)
            first = np.nan if None in times else min(times)
            made.append((Block(shard, start, 0, len(times), first), Queries(at, {})))
        made.sort(key=lambda each: blocks.order(each[0]))
        with mock.patch.object(blocks, "_STRETCH", stretch):
            stretches = list(blocks.in_order([each for each, _ in made], iter([each for _, each in made])))
        found = [tuple(place) for stretch in stretches for place in stretch.places.tolist()]
        expected = sorted(
            (tuple(place) for _, queries in made for place in queries.places.tolist()),
            key=lambda each: (-np.inf if np.isnan(each[0]) else each[0], *each[1:]),
        )
        assert [each[1:] for each in found] == [each[1:] for each in expected]

    def test_no_more_is_held_than_a_stretch(self, monkeypatch):
        monkeypatch.setattr(blocks, "_STRETCH", 6)
        made = []
        for start in range(5):
            at = blocks.places(3)
            at["time"], at["number"] = 10 * start + np.arange(3), 3 * start + np.arange(3)
            made.append((Block(0, start, 0, 3, 10.0 * start), Queries(at, {})))
        stretches = blocks.in_order([each for each, _ in made], iter([each for _, each in made]))
        assert [len(each) for each in stretches] == [6, 6, 3]


class TestCommand:
    def words(self, log, home, *more, **replaced):
        options = {
            "--artifact": home / "serving" / "digits" / "1", "--public-key": home / "signing.pub",
            "--output": log.parent / "out", "--verbose": 0, **replaced,
        }  # fmt: skip
        given = [str(each) for pair in options.items() if pair[1] is not None for each in pair]
        return ["audit", str(log), *given, *map(str, more)]

    def test_tells_who_attacked(self, log, home, capsys):
        assert command(self.words(log, home, "--", "--direct_num_workers=1")) == 0
        told = capsys.readouterr().out
        assert "6 clients accused" in told
        assert "10.6.6.6: at query" in told
        assert f"Open {log.parent / 'out'}/index.html." in told

    def test_without_clients_says_so(self, digits, home, tmp_path, capsys):
        np.savez(tmp_path / "log.npz", x=digits.test.x[:5])
        assert command(self.words(tmp_path / "log.npz", home)) == 0
        assert "The log names no client of 5 queries" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("replaced", "says"),
        [
            ({"--artifact": None}, "Either `--artifact` or `--detector` must be given"),
            ({"--artifact": "nowhere"}, "There must be the version folder of an artifact at nowhere"),
            ({"--past": "nowhere"}, "There must be the version folder of an artifact at nowhere"),
            ({"--past-detector": "nowhere"}, "must come with `--model` and `--dataset`"),
            ({"--client-of": "who"}, "`--client-of` must be file.py:function"),
            ({"--client-of": "nothing.here:who"}, "`client_of` must be a function that can be loaded"),
            ({"--alpha": "1"}, "is not in the range"),
            ({"--public-key": None}, "public key"),
            ({"--runner": "NoRunner"}, "The pipeline did not come to its end"),
        ],
    )
    def test_says_what_is_wrong(self, log, home, capsys, replaced, says):
        assert command(self.words(log, home, **replaced)) == 2
        told = capsys.readouterr().err
        assert says in told
        assert told.count("\n") == 1
        assert not (log.parent / "out").exists()

    def test_of_a_log_that_is_none(self, home, tmp_path, capsys):
        (tmp_path / "logs").mkdir()
        assert command(self.words(tmp_path / "logs", home)) == 2
        assert "must be a log of requests" in capsys.readouterr().err

    def test_of_another_model(self, traffic, home, tmp_path, capsys):
        records = [
            dataclasses.replace(each, model=each.model._replace(name="other")) for each in traffic.watching.records[:2]
        ]
        log = write_log(records, tmp_path / "logs")
        assert command(self.words(log, home)) == 2
        assert "must hold requests to the model 'digits' that it takes. Received: those of other" in (
            capsys.readouterr().err
        )
        assert {each.name for each in tmp_path.iterdir()} == {"logs"}

    def test_of_another_shape(self, home, tmp_path, capsys):
        np.savez(tmp_path / "log.npz", x=np.zeros((3, 9, 9, 1), np.float32))
        assert command(self.words(tmp_path / "log.npz", home)) == 2
        told = capsys.readouterr().err
        assert "must be of shape [?,8,8,1], and is of [1,9,9,1]" in told

    def test_an_artifact_to_hand_out_has_no_detector(self, log, home, capsys):
        assert command(self.words(log, home, **{"--artifact": home / "serving" / "digits-public" / "1"})) == 2
        assert "must be an artifact for a trusted host" in capsys.readouterr().err

    def test_output_that_is_there(self, log, home, capsys):
        (log.parent / "out").mkdir()
        (log.parent / "out" / "mine").write_text("")
        assert command(self.words(log, home)) == 2
        assert (log.parent / "out" / "mine").exists()


def test_the_pipeline_is_for_pipelines_of_ones_own(log, artifact, tmp_path):
    import apache_beam as beam
    from apache_beam.testing.util import assert_that

    from honeykeras.audit import logs

    (tmp_path / "work").mkdir()
    settings = pipeline.Settings({"1": artifact}, tmp_path / "work", tmp_path / "secret", groups=3, alpha=1e-3)

    def check(verdicts):
        accusing = {client for client, (verdict, _) in verdicts if verdict["accused"]}
        if len(verdicts) != 6 or "10.6.6.6" not in accusing:
            raise AssertionError(verdicts)

    with beam.Pipeline() as made:
        verdicts = made | beam.Create(logs.find_shards(log)) | pipeline.Audit(settings)
        assert_that(verdicts, check)
