"""Evidence decides what clients are told."""

import asyncio
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from honeykeras import export
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export import signing
from honeykeras.gateway import policy_files, reactions, running
from honeykeras.gateway.backend import Model
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.in_process import InProcess, find_models
from honeykeras.gateway.policy import Accusation, Clients, Evidence, Flag, Limits, Policy
from honeykeras.gateway.rates import Rates
from honeykeras.gateway.rest import make_app
from honeykeras.gateway.stores import Memory

PREDICT = "/v1/models/digits:predict"
# Of a flag alone.
NEVER = Evidence(alpha=1e-300)


@pytest.fixture
def own(classifier):
    """What the bare model says."""
    return lambda x: tf.nn.softmax(classifier.predict(x, verbose=0)).numpy()


def accuse(gateway, marked, client="10.1.1.1"):
    """Sends what an attack leads to until the client is accused; returns after how many queries."""
    for count, x in enumerate(marked, 1):
        gateway.predict(x[None], client)
        if gateway.watching.records[-1].accused:
            return count
    raise AssertionError("never accused")


class TestAccusation:
    def test_who_attacks_is_accused_and_nobody_else(self, gateway, marked, digits):
        assert accuse(gateway, marked) <= 30
        for x in digits.test.x:
            gateway.predict(x[None], "10.2.2.2")
        assert not gateway.watching.records[-1].accused
        assert sum(record.accusation for record in gateway.watching.records) == 1

    def test_images_in_one_request_are_as_many_queries(self, gateway, marked):
        gateway.predict(marked)
        record = gateway.watching.records[-1]
        assert record.accusation
        assert record.queries == len(marked)

    def test_answers_are_decoys_from_then_on(self, gateway, marked, digits, own):
        accuse(gateway, marked)
        x = digits.test.x[100:140]
        told = gateway.predict(x)
        honest = own(x)
        others = told.argmax(axis=1) != honest.argmax(axis=1)
        assert others.mean() > 0.9, "but for near duplicates of what was told before"
        np.testing.assert_allclose(np.sort(told[others]), np.sort(honest[others]), atol=1e-5)

    def test_a_repeat_tells_nothing(self, gateway, marked, digits):
        """Neither the same again nor a grain beside it, whether it was first asked before or after the accusation."""
        before = digits.test.x[50:51]
        label = gateway.predict(before).argmax()
        accuse(gateway, marked[:12])
        assert gateway.predict(before).argmax() == label
        after = digits.test.x[51:52]
        label = gateway.predict(after).argmax()
        rng = np.random.default_rng(0)
        for _ in range(3):
            grain = rng.normal(0, 0.004, after.shape).astype(np.float32)
            assert gateway.predict(np.clip(after + grain, 0, 1)).argmax() == label

    def test_lapses(self, make_gateway, marked, digits, own):
        now = [1000.0]
        gateway = make_gateway(Policy(accusation=Accusation(duration=3600)), clock=lambda: now[0])
        accuse(gateway, marked)
        now[0] += 3599
        gateway.predict(digits.test.x[:1])
        assert gateway.watching.records[-1].accused
        now[0] += 2
        told = gateway.predict(digits.test.x[20:40])
        assert not gateway.watching.records[-1].accused
        np.testing.assert_array_equal(told.argmax(axis=1), own(digits.test.x[20:40]).argmax(axis=1))

    def test_ban(self, make_gateway, marked, digits):
        now = [1000.0]
        gateway = make_gateway(Policy(accusation=Accusation(action="ban", duration=60)), clock=lambda: now[0])
        accuse(gateway, marked)
        response = gateway.ask("POST", PREDICT, json={"instances": digits.test.x[:1].tolist()})
        assert response.status_code == 403
        assert response.json() == {"error": "The client may not use this model"}
        gateway.predict(digits.test.x[:1], "10.9.9.9")
        now[0] += 61
        gateway.predict(digits.test.x[:1])

    def test_who_is_observed_only_gets_the_models_answers(self, make_gateway, marked, own):
        gateway = make_gateway(Policy(clients=Clients(observed_only=["10.1.1.1"])))
        accuse(gateway, marked)
        np.testing.assert_allclose(gateway.predict(marked), own(marked), atol=1e-5)
        assert gateway.watching.records[-1].accused

    def test_a_smaller_alpha_asks_for_more(self, make_gateway, digits):
        bounds = []
        for alpha in (0.05, 1e-5):
            gateway = make_gateway(Policy(evidence=Evidence(alpha=alpha)))
            gateway.predict(digits.test.x[:1])
            bounds.append(gateway.watching.records[0].bound)
        assert bounds[0] < bounds[1]

    def test_each_version_has_its_own_ledger(self, gateway, digits):
        gateway.predict(digits.test.x[:3])
        standing = dict(gateway.store.known())["10.1.1.1"]
        assert list(standing.ledgers) == ["digits/1"]


class TestFlag:
    @pytest.fixture
    def flagged(self, detector, marked):
        found = marked[detector.flag(marked)]
        assert len(found)
        return found[:2]

    def answer(self, make_gateway, action, x):
        gateway = make_gateway(Policy(flag=Flag(action=action), evidence=NEVER))
        return gateway.predict(x), gateway

    def test_observe(self, make_gateway, flagged, own):
        told, gateway = self.answer(make_gateway, "observe", flagged)
        np.testing.assert_allclose(told, own(flagged), atol=1e-5)
        assert gateway.watching.records[0].flags.all()

    def test_mislead_keeps_the_label(self, make_gateway, flagged, own):
        told, _ = self.answer(make_gateway, "mislead", flagged)
        assert (told.argmax(axis=1) == own(flagged).argmax(axis=1)).all()
        assert np.abs(told - own(flagged)).max() > 1e-3
        np.testing.assert_allclose(told.sum(axis=1), 1, atol=1e-5)

    def test_decoy_changes_it(self, make_gateway, flagged, own):
        told, _ = self.answer(make_gateway, "decoy", flagged[:1])
        assert told.argmax() == np.argsort(own(flagged[:1])[0])[-2]

    def test_reject(self, make_gateway, flagged):
        told, _ = self.answer(make_gateway, "reject", flagged)
        assert not told.any()

    def test_slow(self, make_gateway, flagged, digits, own):
        gateway = make_gateway(Policy(flag=Flag(action="slow", delay=0.3), evidence=NEVER))
        begun = time.perf_counter()
        told = gateway.predict(flagged[:1])
        assert time.perf_counter() - begun >= 0.3
        np.testing.assert_allclose(told, own(flagged[:1]), atol=1e-5)

    def test_ban_is_for_the_next_request(self, make_gateway, flagged):
        _, gateway = self.answer(make_gateway, "ban", flagged)
        assert gateway.ask("POST", PREDICT, json={"instances": flagged.tolist()}).status_code == 403

    def test_what_is_not_flagged_in_the_same_request_is_answered(self, make_gateway, flagged, digits, detector, own):
        clean = digits.test.x[~detector.flag(digits.test.x)][:2]
        told, _ = self.answer(make_gateway, "reject", np.concatenate([clean, flagged]))
        np.testing.assert_allclose(told[:2], own(clean), atol=1e-5)
        assert not told[2:].any()


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("policy", ["mislead", "decoy", "reject"])
def test_answers_are_those_of_the_artifacts_policies(policy, scale):
    """Of probabilities as of logits, ties and certainties included."""
    logits = np.random.default_rng(0).normal(0, scale, (200, 7)).astype(np.float32)
    logits[:5] = [[1, 1, 0, 0, 0, 0, 0]] * 5
    for scores in (logits, tf.nn.softmax(logits).numpy(), np.eye(7, dtype=np.float32)):
        told = reactions.altered(scores, [policy] * len(scores), [None] * len(scores))
        np.testing.assert_allclose(told, export.POLICIES[policy](tf.constant(scores)), atol=2e-6 * max(1, scale))
        assert told.dtype == scores.dtype


class TestShadow:
    def test_answers_are_the_models_and_what_would_have_been_is_told(self, make_gateway, marked, own):
        policy = Policy(shadow=True, accusation=Accusation(action="ban"))
        gateway = make_gateway(policy)
        np.testing.assert_allclose(gateway.predict(marked), own(marked), atol=1e-5)
        np.testing.assert_allclose(gateway.predict(marked), own(marked), atol=1e-5)
        record = gateway.watching.records[-1]
        assert record.shadow
        assert record.accused
        assert {each.action for each in record.reactions} == {"ban"}

    def test_nobody_is_banned_when_it_ends(self, make_gateway, marked, digits):
        gateway = make_gateway(Policy(shadow=True, flag=Flag(action="ban")))
        gateway.predict(marked[:3])
        gateway.guard.policy = Policy(flag=Flag(action="ban"))
        gateway.predict(digits.test.x[:1])


class TestLimits:
    def test_a_model_that_takes_too_long(self, run, make_gateway, digits, in_process, monkeypatch):
        async def late(*_):
            await asyncio.sleep(5)

        monkeypatch.setattr(in_process, "run", late)
        gateway = make_gateway(Policy(limits=Limits(deadline=0.1)))
        response = gateway.ask("POST", PREDICT, json={"instances": digits.test.x[:1].tolist()})
        assert response.status_code == 504
        assert gateway.watching.refusals == [("digits", "serving_default", "DEADLINE_EXCEEDED")]


class TestModels:
    def test_those_for_a_trusted_host_are_found_wherever_they_are_named_from(self, home):
        for folder in (home, home / "serving", home / "serving" / "digits"):
            assert set(find_models(folder)) == {"digits"}

    def test_none(self, tmp_path):
        with pytest.raises(StorageError, match="must hold an artifact for a trusted host"):
            find_models(tmp_path)

    def test_the_one_to_hand_out_alone_is_none(self, home):
        with pytest.raises(StorageError, match="must hold an artifact for a trusted host"):
            find_models(home / "serving" / "digits-public")

    def test_a_version_that_is_not_there(self, home):
        with pytest.raises(StorageError, match="Version 7 of 'digits' must be there"):
            InProcess(home, unsigned=True, versions={"digits": 7})
        with pytest.raises(StorageError, match="Version 1 of 'other' must be there"):
            InProcess(home, unsigned=True, labels={"other": {"stable": 1}})

    def test_labels(self, run, make_gateway, digits, in_process):
        run(in_process.choose({}, {"digits": {"stable": 1}}))
        try:
            gateway = make_gateway()
            body = {"instances": digits.test.x[:1].tolist()}
            assert gateway.ask("POST", "/v1/models/digits/labels/stable:predict", json=body).status_code == 200
            assert gateway.ask("POST", "/v1/models/digits/labels/other:predict", json=body).status_code == 400
        finally:
            run(in_process.choose({}, {}))

    def test_signatures_whose_answers_cannot_be_changed_need_another_policy(
        self, run, make_gateway, classifier, detector, tmp_path
    ):
        def signatures(classify):
            spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="inputs")

            @tf.function(input_signature=[spec])
            def serve(x):
                scores = classify(x)
                return {"scores": scores, "label": tf.argmax(scores, axis=1)}

            return {"serving_default": serve}

        key = export.SealingKey.generate()
        key.save(tmp_path / "model.key")
        export.save_guarded(classifier, tmp_path / "serving" / "own", detector, key, own_signatures=signatures)
        backend = InProcess(tmp_path, unsigned=True)
        run(backend.start())
        try:
            guard = Guard(backend, Policy(), Memory(Clients))
            with pytest.raises(InvalidArgumentError, match="must give one tensor of scores for the policy to change"):
                run(guard.check(["own"]))
            guard.policy = Policy(flag=Flag(action="observe"), accusation=Accusation(action="ban"))
            run(guard.check(["own"]))
            answer = run(guard.ask(Model("own"), "", {"inputs": np.zeros((1, 8, 8, 1), np.float32)}, "me"))
            assert set(answer.outputs) == {"scores", "label"}
        finally:
            run(backend.close())


class TestVersions:
    """A policy says which version is served; taking it back takes the version back."""

    @pytest.fixture
    def two(self, run, classifier, detector, tmp_path):
        key = export.SealingKey.generate()
        key.save(tmp_path / "model.key")
        signing.write_key_pair(tmp_path / "s.pem", tmp_path / "s.pub")
        for _ in range(2):
            version = export.save_guarded(classifier, tmp_path / "serving" / "digits", detector, key)
            signing.sign(version, tmp_path / "s.pem")
        made = InProcess(tmp_path, public_key=tmp_path / "s.pub")
        run(made.start())
        yield made, tmp_path
        run(made.close())

    def test_roll_out_and_back(self, run, two, digits):
        backend, folder = two
        # The second version comes later: it is found when the policy is read anew.
        versions = folder / "serving" / "digits"
        for each in ("2", "2.sig"):
            (versions / each).rename(folder / each)
        run(backend.choose({}, {}))
        for each in ("2", "2.sig"):
            (folder / each).rename(versions / each)
        (folder / "policy.toml").write_text("version = 1\n[serve]\ndigits = 1")
        (folder / "next.toml").write_text("version = 2\n[serve]\ndigits = 2")
        guard = Guard(backend, policy_files.read(folder / "policy.toml"), Memory(Clients))
        said = []

        def reload():
            run(running.reload(guard, ["digits"], lambda: policy_files.read(folder / "policy.toml"), said.append))
            return run(guard.ask(Model("digits"), "", {"inputs": digits.test.x[:1]}, "me")).version

        assert reload() == 1
        policy_files.install(folder / "next.toml", folder / "policy.toml")
        assert reload() == 2
        policy_files.rollback(folder / "policy.toml")
        assert reload() == 1
        # One that was tampered with does not verify, and the old one goes on.
        file = folder / "serving" / "digits" / "2" / "saved_model.pb"
        file.write_bytes(file.read_bytes() + b"x")
        (folder / "policy.toml").write_text("version = 3\n[serve]\ndigits = 2")
        assert reload() == 1
        assert "was refused, and version 1 stays" in said[-1]
        assert guard.policy.version == 1

    def test_without_an_observer_flags_alone_decide(self, run, two, marked, detector):
        backend, _ = two
        guard = Guard(backend, Policy(flag=Flag(action="reject")), Memory(Clients))
        told = run(guard.ask(Model("digits"), "", {"inputs": marked[:20]}, "me")).outputs["probabilities"]
        np.testing.assert_array_equal(~told.any(axis=1), detector.flag(marked[:20]))


class TestRates:
    def test_refuse_who_asks_too_often(self, make_gateway, digits):
        gateway = make_gateway(Policy(clients=Clients(rate="3/minute")))
        rates = Rates(bytes(32))

        async def limit(client):
            await rates.check(gateway.policy, client)

        gateway.app = make_app(gateway.guard, limit)
        body = {"json": {"instances": digits.test.x[:1].tolist()}}
        statuses = [each.status_code for each in gateway.ask_all([("POST", PREDICT, body)] * 5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert gateway.ask("POST", PREDICT, "10.7.7.7", **body).status_code == 200


class TestMemory:
    @pytest.mark.slow
    def test_is_flat_over_many_requests_and_clients(self, run, make_gateway, digits):
        gateway = make_gateway(Policy(clients=Clients(remembered=500)))
        gateway.watching.answered = lambda record: None
        body = {"json": {"instances": digits.test.x[:1].tolist()}}

        def ask(clients):
            for client in clients:
                gateway.ask("POST", PREDICT, client, **body)
            return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

        names = [f"10.{number // 200}.{number % 200}.1" for number in range(5000)]
        before = ask(names)
        for _ in range(3):
            after = ask(names)
        assert after - before < 30 * 2**20

    def test_of_too_many_clients_the_one_that_was_silent_longest_goes(self, make_gateway, digits, marked):
        gateway = make_gateway(Policy(clients=Clients(remembered=3)))
        accuse(gateway, marked, "10.0.0.1")
        for number in range(2, 8):
            gateway.predict(digits.test.x[:1], f"10.0.0.{number}")
        assert [name for name, _ in gateway.store.known()] == ["10.0.0.7", "10.0.0.6", "10.0.0.1"]
        # A policy that comes into force later is heeded at once.
        gateway.guard.policy = Policy(clients=Clients(remembered=1))
        gateway.predict(digits.test.x[:1], "10.0.0.7")
        assert len(gateway.store.known()) == 1

    def test_forget(self, run, make_gateway, marked):
        gateway = make_gateway()
        accuse(gateway, marked)
        assert run(gateway.store.forget("10.1.1.1"))
        assert not run(gateway.store.forget("10.1.1.1"))
        gateway.predict(marked[:1])
        assert not gateway.watching.records[-1].accused
