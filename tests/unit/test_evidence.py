"""Evidence per client: the bound on accusing by chance, what is not to enter, and what accuses."""

import concurrent.futures
import copy
import dataclasses
import functools
import math
import pickle
import zlib

import numpy as np
import pytest
import tensorflow as tf
import threadpoolctl

import honeykeras as hk
from honeykeras import evidence
from honeykeras.errors import InvalidArgumentError, KeyFileError, SecretSerializationError
from honeykeras.evidence import bounds, graph, storage
from honeykeras.evidence.ledger import SHARES
from honeykeras.evidence.sessions import ROWS, Sessions, distances_between
from honeykeras.evidence.sums import Added, Sums

K, D = 4, 60
RULES = evidence.Rules(K, D, nearness=0.5, alpha=0.05, margin=0.0)


def patterns(keys, seed=0):
    return np.random.default_rng(seed).choice(np.float32([-1, 1]), (K, D, keys))


def stream(views, classes, codes=None, seed=9):
    """Queries of given views, as far from each other as need be unless codes say otherwise."""
    views = np.asarray(views, np.float32)
    if codes is None:
        codes = np.random.default_rng(seed).normal(0, 5, views.shape)
    count = len(views)
    codes = np.asarray(codes, np.float16)
    empty = evidence.Observations(np.asarray(classes), views, np.zeros(count), codes, codes, np.zeros((count, K)))
    return empty.under(patterns(1)[..., 0])


def random_stream(count, seed=1, scale=1.0):
    rng = np.random.default_rng(seed)
    views = scale * rng.normal(0, 1 / math.sqrt(D), (count, D))
    return stream(views, rng.integers(0, K, count), seed=seed + 100)


def led(count, strength, seed=1):
    """Queries that draw the key's pattern faintly."""
    seen = random_stream(count, seed)
    views = seen.views + strength / D * patterns(1)[..., 0][seen.classes] * math.sqrt(D)
    return stream(views / np.linalg.norm(views, axis=1, keepdims=True), seen.classes, seen.codes)


class TestBounds:
    def test_shares_of_all_looks_make_no_more_than_all(self):
        assert math.isclose(sum(SHARES.values()), 1)
        assert bounds.share(np.arange(1, 10**6)).sum() < 1

    def test_is_passed_by_chance_no_more_often_than_said(self):
        """Signs' sums come near to it from below, and a normal variable stays under it."""
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (200_000, 30)).sum(axis=1) / math.sqrt(30)
        for alpha in (0.3, 0.05, 1e-3):
            share = (np.abs(signs) >= bounds.bound(alpha)).mean()
            assert share <= alpha
            assert math.isclose(2 * math.exp(-(bounds.bound(alpha) ** 2) / 2), alpha)

    def test_checkpoints_are_close_together(self):
        grid = bounds.CHECKPOINTS
        assert np.array_equal(grid[:8], np.arange(1, 9))
        assert (np.diff(grid[:200]) <= 1 + grid[:199] / 8).all()

    def test_mean_e_value_of_chance_is_one_at_most(self):
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (300_000, 40)).sum(axis=1) / math.sqrt(40)
        assert bounds.e_value(signs).mean() < 1.05
        assert bounds.e_value(8.0) > 1e9
        assert bounds.e_value(0.0) < 1

    def test_e_bh_accuses_as_wang_and_ramdas_do(self):
        e_values = np.array([100.0, 0.5, 60.0, 1.0, 25.0, 0.0, 2.0, 3.0, 1.0, 0.1])
        # The k-th greatest must be 10 / (0.2 k) at least: 50, 25, 16.7, 12.5, ...
        assert np.array_equal(evidence.e_bh(e_values, 0.2), e_values >= 25)
        assert not evidence.e_bh(np.ones(5), 0.1).any()
        with pytest.raises(InvalidArgumentError, match="alpha"):
            evidence.e_bh(e_values, 0)


def one_direction(rng, count):
    return np.tile(rng.normal(0, 1, D), (count, 1)), np.zeros(count, int)


def growing(rng, count):
    return rng.normal(0, 1, (count, D)) * 1.05 ** np.arange(count)[:, None], rng.integers(0, K, count)


def sparse(rng, count):
    """The least that a sum of signs can be made of: few coordinates, in turns."""
    views = np.zeros((count, D))
    views[np.arange(count), np.arange(count) // 40 % D] = 4.0
    return views, np.zeros(count, int)


def to_and_fro(rng, count):
    views = np.tile(rng.normal(0, 1, D), (count, 1))
    return views * np.where(np.arange(count) // 5 % 2, -1, 1)[:, None], np.zeros(count, int)


def climbing(rng, count):
    """Adapts to what it sent before: always on from there, wherever the sum is longest."""
    views, total = np.empty((count, D)), np.zeros(D)
    for i in range(count):
        views[i] = 0.3 * rng.normal(0, 1, D) + total / max(np.linalg.norm(total), 1)
        total += views[i]
    return views, np.zeros(count, int)


def drifting(rng, count):
    return np.cumsum(rng.normal(0, 0.2, (count, D)), axis=0), rng.integers(0, 2, count)


def steps_of_an_image(rng, count):
    """Near duplicates whose classes change all the time."""
    return rng.normal(0, 1, (count, D)), rng.integers(0, K, count)


STREAMS = [one_direction, growing, sparse, to_and_fro, climbing, drifting, steps_of_an_image]


class TestGuarantee:
    KEYS = 4000

    @pytest.mark.parametrize("make", STREAMS, ids=lambda make: make.__name__)
    def test_streams_that_are_built_to_break_it(self, make):
        rng = np.random.default_rng(3)
        views, classes = make(rng, 500)
        codes = None
        if make is steps_of_an_image:
            codes = np.repeat(rng.normal(0, 5, (25, D)), 20, axis=0) + rng.normal(0, 0.02, (500, D))
        seen = stream(views, classes, codes)
        rules = dataclasses.replace(RULES, alpha=0.2)
        ledger = evidence.Ledger(rules, keys=self.KEYS)
        for start in range(0, 500, 100):
            ledger.add(seen[start : start + 100].under(patterns(self.KEYS, seed=5)))
        share = (ledger.accused_at > 0).mean()
        assert share <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / self.KEYS)

    def test_simulation_would_show_what_breaks_it(self):
        """Of streams that look at the key a little, many are accused."""
        keys = patterns(200, seed=5)
        views = np.random.default_rng(0).normal(0, 1 / math.sqrt(D), (300, D))
        found = []
        for key in range(200):
            drawn = views + 0.25 / math.sqrt(D) * keys[0, :, key]
            seen = stream(drawn, np.zeros(300, int)).under(keys[..., key])
            found.append(evidence.Ledger(RULES).update(seen).accused)
        assert np.mean(found) > 0.5

    def test_many_keys_at_once_are_as_one_at_a_time(self):
        seen, keys = led(300, 2.0), patterns(3, seed=4)
        keys[..., 0] = patterns(1)[..., 0]
        many = evidence.Ledger(RULES, keys=3)
        many.add(seen.under(keys))
        for key in range(3):
            alone = evidence.Ledger(RULES)
            alone.update(seen.under(keys[..., key]))
            assert (alone.evidence.accused_at or 0) == many.accused_at[key]
        assert many.accused_at[0]
        assert not many.accused_at[1:].any()


def added_one_by_one(sums, seen, rules):
    """Adds observations, and looks after each of them."""
    return sums.add(Added(seen.classes, seen.views, seen.projections), np.arange(len(seen)), rules)


class TestSums:
    def test_statistic_is_the_sums_projection_over_its_length(self):
        seen = random_stream(50)
        key = patterns(1)[..., 0]
        sums = Sums(K, D)
        found = np.concatenate([added_one_by_one(sums, part, RULES) for part in (seen[:20], seen[20:])])
        for i in (0, 7, 19, 20, 49):
            total = np.stack([seen.views[: i + 1][seen.classes[: i + 1] == label].sum(axis=0) for label in range(K)])
            expected = abs((total * key).sum()) / np.linalg.norm(total)
            assert math.isclose(found[i], expected, rel_tol=1e-4)

    def test_margin_is_taken_off_for_each_vector(self):
        seen = random_stream(30)
        wide = dataclasses.replace(RULES, margin=0.1, grace=12.0)
        plain, less = (Sums(K, D) for _ in range(2))
        raw = added_one_by_one(plain, seen, RULES)
        found = added_one_by_one(less, seen, wide)
        weights = np.cumsum(np.linalg.norm(seen.views, axis=1))
        lengths = np.abs(np.cumsum(seen.projections)) / raw
        allowed = 0.05 * weights + 0.05 * np.maximum(weights - 12, 0)
        assert weights[-1] > 20
        assert np.allclose(found, np.maximum(raw - allowed / lengths, 0), atol=1e-4)

    def test_what_cancels_is_nothing(self):
        view = np.full((1, D), 0.3, np.float32)
        sums = Sums(K, D)
        sums.add(Added(np.array([0]), view, np.array([5.0])), np.array([], int), RULES)
        assert sums.add(Added(np.array([0]), -view, np.array([-5.0 + 1e-9])), np.array([0]), RULES)[0] == 0

    def test_graph_agrees(self):
        seen, rules = led(200, 1.0), dataclasses.replace(RULES, margin=0.2, grace=50.0)
        sums, state = Sums(K, D), graph.begin(K, D)
        add = tf.function(functools.partial(graph.add, rules=rules), reduce_retracing=True)
        for start in range(0, 200, 50):
            part = seen[start : start + 50]
            expected = added_one_by_one(sums, part, rules)
            state, found = add(state, part.classes, part.views, part.projections)
            assert np.allclose(found, expected, atol=1e-4)
        assert np.allclose(state.by_class, sums.by_class, atol=1e-4)
        assert math.isclose(float(state.projection), float(sums.projection), rel_tol=1e-9)
        assert int(state.count) == sums.count == 200
        assert add.experimental_get_tracing_count() <= 2


class TestLedger:
    def test_in_how_many_calls_does_not_matter(self):
        seen = led(700, 0.5)
        rng = np.random.default_rng(0)
        codes = seen.codes.copy()
        # Some near duplicates among them.
        copies = rng.choice(np.arange(50, 700), 200, replace=False)
        codes[copies] = codes[copies - rng.integers(1, 20, 200)] + np.float16(0.01)
        seen = stream(seen.views, seen.classes, codes)
        whole, parts = (evidence.Ledger(RULES) for _ in range(2))
        expected = whole.update(seen)
        start = 0
        while start < 700:
            size = int(rng.integers(1, 90))
            parts.update(seen[start : start + size])
            start += size
        found = parts.evidence
        assert (found.queries, found.new, found.accused_at, found.accused_by) == dataclasses.astuple(expected)[:4]
        assert math.isclose(found.statistic, expected.statistic, rel_tol=1e-4)
        assert expected.accused

    @pytest.mark.parametrize("sign", [1, -1])
    def test_who_draws_the_pattern_is_accused_and_who_avoids_it_too(self, sign):
        assert evidence.Ledger(RULES).update(led(200, sign * 2.0)).accused_at < 30

    def test_earlier_evidence_wins(self):
        ledger = evidence.Ledger(RULES)
        first = ledger.update(led(100, 3.0)).accused_at
        assert ledger.update(random_stream(500, seed=4)).accused_at == first

    def test_a_long_past_hides_nothing(self):
        """Beside ten thousand queries, a burst of thirty does not move the sum of all; the window shows it."""
        ledger = evidence.Ledger(RULES)
        for seed in range(10):
            assert not ledger.update(random_stream(1000, seed=seed)).accused
        found = ledger.update(led(60, 1.2, seed=77))
        assert found.accused_by == "window"
        assert abs(found.statistic) < found.bound

    def test_one_loud_query_accuses_alone(self):
        loud = led(1, 60.0)
        assert abs(loud.projections[0]) > 7
        ledger = evidence.Ledger(RULES)
        ledger.update(random_stream(300))
        found = ledger.update(loud)
        assert (found.accused_at, found.accused_by) == (301, "single")

    def test_padding_with_one_image_hides_nothing(self):
        attack = led(60, 2.0)
        image = random_stream(1, seed=8)
        padded = evidence.Observations.joined(
            [part for i in range(60) for part in (evidence.Observations.joined([image] * 9), attack[i : i + 1])]
        )
        alone = evidence.Ledger(RULES).update(attack).accused_at
        found = evidence.Ledger(RULES).update(padded)
        assert found.new == 61
        # The image itself is one query more.
        assert found.accused_at <= 10 * (alone + 2)

    def test_copies_of_what_is_remembered_do_not_enter(self):
        images = random_stream(RULES.remembered)
        ledger = evidence.Ledger(RULES)
        for _ in range(5):
            ledger.update(images)
        assert ledger.evidence.new == RULES.remembered

    def test_bound_grows_slowly_and_alpha_lowers_it(self):
        ledger = evidence.Ledger(RULES)
        early = ledger.evidence.bound
        late = ledger.update(random_stream(1000)).bound
        assert early < late < early + 2.5
        assert evidence.Ledger(dataclasses.replace(RULES, alpha=1e-6)).evidence.bound > early + 1

    def test_nothing_to_see_is_no_evidence(self):
        nothing = stream(np.zeros((50, D)), np.zeros(50, int))
        found = evidence.Ledger(RULES).update(nothing)
        assert found.statistic == 0
        assert not found.accused

    def test_e_value(self):
        assert evidence.Ledger(RULES).update(led(100, 3.0)).e_value > 1e4
        assert evidence.Ledger(RULES).update(random_stream(100)).e_value < 10

    def test_merged_sums_are_those_of_all(self):
        parts = [led(200, 0.4, seed=seed) for seed in (1, 2)]
        whole, first, second = (evidence.Ledger(RULES) for _ in range(3))
        expected = whole.update(evidence.Observations.joined(parts))
        first.update(parts[0])
        second.update(parts[1])
        first.merge(second)
        found = first.evidence
        assert (found.queries, found.new) == (expected.queries, expected.new) == (400, 400)
        assert math.isclose(found.statistic, expected.statistic, rel_tol=1e-4)
        assert math.isclose(found.bound, expected.bound)
        # Near duplicates are found of what was remembered last.
        assert first.update(parts[1][-10:]).new == 400
        assert whole.sessions.queries + 10 == first.sessions.queries

    def test_merging_accuses_whom_neither_part_does(self):
        parts = [evidence.Ledger(RULES) for _ in range(8)]
        for seed, part in enumerate(parts, 11):
            assert not part.update(led(150, 0.025, seed=seed)).accused
        for part in parts[1:]:
            parts[0].merge(part)
        assert parts[0].evidence.accused
        assert parts[0].evidence.accused_by == "all"

    def test_merging_keeps_an_accusation(self):
        clean, guilty = evidence.Ledger(RULES), evidence.Ledger(RULES)
        clean.update(random_stream(100))
        at = guilty.update(led(100, 3.0)).accused_at
        clean.merge(guilty)
        assert clean.evidence.accused_at == 100 + at
        before = guilty.evidence
        guilty.merge(clean)
        assert guilty.evidence.accused_at == before.accused_at

    def test_ledgers_of_other_rules_do_not_merge(self):
        with pytest.raises(InvalidArgumentError, match="same rules"):
            evidence.Ledger(RULES).merge(evidence.Ledger(dataclasses.replace(RULES, alpha=0.5)))
        with pytest.raises(InvalidArgumentError, match="a Ledger"):
            evidence.Ledger(RULES).merge(None)

    def test_bad_input(self):
        ledger = evidence.Ledger(RULES)
        with pytest.raises(InvalidArgumentError, match=r"must be what `Observer\.observe` gives"):
            ledger.update(np.zeros((3, D)))
        other = evidence.Ledger(evidence.Rules(K, D + 1, 0.5))
        with pytest.raises(InvalidArgumentError, match="views of shape"):
            other.update(random_stream(3))

    @pytest.mark.parametrize(
        "settings",
        [
            {"alpha": 0}, {"alpha": 1}, {"margin": -1}, {"margin": math.nan}, {"window": 1}, {"remembered": 0},
            {"nearness": -1}, {"num_classes": 1}, {"grace": -1},
        ],
        ids=str,
    )  # fmt: skip
    def test_bad_rules(self, settings):
        with pytest.raises(InvalidArgumentError, match=next(iter(settings))):
            dataclasses.replace(RULES, **settings)

    def test_threads_of_linear_algebra_are_left_as_they_were(self, monkeypatch):
        """One does inside, whoever else adds at the same time."""

        def threads():
            return {each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"}

        inside, add = [], evidence.Ledger._add

        def looked(ledger, seen):
            inside.append(threads())
            add(ledger, seen)

        monkeypatch.setattr(evidence.Ledger, "_add", looked)
        before = threads()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda seed: evidence.Ledger(RULES).add(random_stream(300, seed)), range(12)))
        assert threads() == before
        assert inside == 24 * [{1}]


class TestSessions:
    def test_distances(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=(3, 7)).astype(np.float32)
        assert np.allclose(distances_between(a, b), np.linalg.norm(a[:, None] - b, axis=2), atol=1e-5)

    @pytest.mark.parametrize("nearness", [0.5, 0.0])
    def test_near_duplicates_are_told_of_many_as_of_one(self, nearness):
        """Beside what is no number, of which there is no near duplicate."""
        rules = dataclasses.replace(RULES, nearness=nearness)
        seen, rng = random_stream(120), np.random.default_rng(0)
        seen.codes[50] = np.nan
        copies = np.arange(10, 120, 5)
        for place in copies:
            seen.codes[place] = seen.codes[place - rng.integers(1, 10)]
        new = ~(np.isin(np.arange(120), copies) & np.isfinite(seen.codes).all(axis=1))
        assert np.count_nonzero(~new) > 15
        one_by_one = Sessions(rules)
        assert np.array_equal(Sessions(rules).sort(seen)[0], new)
        assert np.array_equal([one_by_one.sort(seen[place : place + 1])[0][0] for place in range(120)], new)

    def test_sum_of_differences_is_that_of_what_counts_in_each_session(self):
        rng = np.random.default_rng(0)
        roots = rng.normal(0, 5, (5, D)).astype(np.float16)
        codes = np.concatenate([root + np.cumsum(rng.normal(0, 0.03, (8, D)), axis=0) for root in roots])
        codes[::8] = roots
        codes = codes.astype(np.float16)
        classes = np.tile([0, 0, 1, 1, 0, 2, 2, 0], 5)
        seen = stream(rng.normal(0, 1, (40, D)), classes, codes)
        ledger = evidence.Ledger(RULES)
        assert ledger.update(seen).new == 5
        sums, key = ledger.sums["differences"], patterns(1)[..., 0]
        expected = np.zeros((K, D))
        for root in range(5):
            # The seventh is the last one that is taken for another class than the first.
            expected[2] += codes[8 * root + 6].astype(np.float32) - roots[root].astype(np.float32)
        assert np.allclose(sums.by_class, expected, atol=1e-4)
        assert math.isclose(float(sums.projection), (expected * key).sum(), rel_tol=1e-4, abs_tol=1e-4)

    def test_drift_that_follows_the_key_is_accused(self):
        key = patterns(1)[..., 0]
        rng = np.random.default_rng(0)
        roots = rng.normal(0, 5, (14, D))
        steps = np.linspace(0, 0.06, 10)[:, None] * (key[1] + rng.normal(0, 2, (14, 1, D)))
        codes = (roots[:, None] + steps).reshape(-1, D)
        classes = np.tile([0] * 5 + [1] * 5, 14)
        found = evidence.Ledger(RULES).update(stream(rng.normal(0, 1, (140, D)), classes, codes))
        assert found.accused_by == "differences"

    def test_what_stays_in_its_class_is_left_out(self):
        codes = np.tile(np.random.default_rng(0).normal(0, 5, D), (30, 1))
        ledger = evidence.Ledger(RULES)
        found = ledger.update(stream(np.ones((30, D)), np.zeros(30, int), codes))
        assert (found.queries, found.new) == (30, 1)
        assert not ledger.sums["differences"].count


class TestStorage:
    @pytest.fixture
    def ledger(self):
        ledger = evidence.Ledger(RULES)
        ledger.update(led(150, 0.6))
        return ledger

    def test_goes_on_where_it_was(self, ledger):
        again = storage.from_bytes(storage.to_bytes(ledger), RULES)
        assert again.evidence.new == ledger.evidence.new
        further = led(200, 0.6, seed=6)
        expected, found = ledger.update(further), again.update(further)
        assert (found.accused_at, found.accused_by) == (expected.accused_at, expected.accused_by)
        assert math.isclose(found.statistic, expected.statistic, rel_tol=1e-3)

    def test_loss_is_less_than_a_thousandth_of_its_length(self, ledger):
        again = storage.from_bytes(storage.to_bytes(ledger), RULES)
        for name, sums in ledger.sums.items():
            off = np.linalg.norm(again.sums[name].by_class - sums.by_class)
            assert off <= 1e-3 * np.linalg.norm(sums.by_class)
            assert again.sums[name].projection == sums.projection

    def test_loss_of_what_is_remembered_is_some_hundredth(self, ledger):
        ledger.update(random_stream(40, seed=7))
        again = storage.from_bytes(storage.to_bytes(ledger), RULES)
        for name in ROWS:
            rows = getattr(ledger.sessions, name).astype(np.float32)
            off = np.linalg.norm(getattr(again.sessions, name) - rows, axis=1)
            assert (off <= 0.02 * np.linalg.norm(rows, axis=1)).all()

    @pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e4])
    def test_what_is_remembered_may_be_faint_or_strong(self, scale):
        rows = (scale * np.random.default_rng(0).uniform(-1, 1, (32, D))).astype(np.float16)
        kept, _ = storage._unrounded(storage._rounded(rows, "<i1"), 0, rows.shape, "<i1")
        exact = rows.astype(np.float64)
        assert (np.abs(kept - exact).max(axis=1) <= 0.51 / 127 * np.abs(exact).max(axis=1)).all()

    def test_no_more_is_lost_the_second_time(self, ledger):
        once = storage.to_bytes(storage.from_bytes(storage.to_bytes(ledger), RULES))
        again = storage.to_bytes(storage.from_bytes(once, RULES))
        kept = [storage.from_bytes(content, RULES) for content in (once, again)]
        for name in ROWS:
            assert (getattr(kept[0].sessions, name) == getattr(kept[1].sessions, name)).all()

    def test_size_grows_neither_with_time_nor_with_queries(self, ledger):
        most = storage._size(ledger) + 64
        for seed in range(5):
            ledger.update(random_stream(500, seed=seed))
            assert len(storage.to_bytes(ledger)) <= most
        assert len(storage.to_bytes(evidence.Ledger(RULES))) < 200

    def test_vault_opens_for_the_client_alone(self, ledger):
        vault = evidence.Vault(bytes(range(32)))
        sealed = vault.seal("alice", ledger)
        assert vault.seal("alice", ledger) != sealed
        again = evidence.Vault(bytes(range(32))).open("alice", sealed, RULES)
        assert again.evidence == dataclasses.replace(
            ledger.evidence,
            statistic=again.evidence.statistic,
            allowance=again.evidence.allowance,
            bound=again.evidence.bound,
        )
        altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
        for open_ in (
            lambda: vault.open("bob", sealed, RULES),
            lambda: evidence.Vault(bytes(32)).open("alice", sealed, RULES),
            lambda: vault.open("alice", altered, RULES),
            lambda: vault.open("alice", b"", RULES),
            lambda: vault.open("alice", None, RULES),
        ):
            with pytest.raises(KeyFileError, match="does not open"):
                open_()

    def test_shows_nothing_of_what_it_holds(self, ledger):
        sealed = evidence.Vault(bytes(range(32))).seal("alice", ledger)
        plain = storage.to_bytes(ledger)
        assert not any(plain[i : i + 8] in sealed for i in range(0, len(plain) - 8, 8))

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"x\x9c" + bytes(50), zlib.compress(bytes(10**6))], ids=len)
    def test_what_is_no_ledger(self, content):
        with pytest.raises(InvalidArgumentError, match="must be a ledger of these rules"):
            storage.from_bytes(content, RULES)

    def test_ledger_of_other_rules(self, ledger):
        with pytest.raises(InvalidArgumentError, match="other rules"):
            storage.from_bytes(storage.to_bytes(ledger), dataclasses.replace(RULES, alpha=0.01))

    def test_ledger_of_many_keys(self):
        with pytest.raises(InvalidArgumentError, match="controls"):
            storage.to_bytes(evidence.Ledger(RULES, keys=2))

    def test_vault_keeps_its_secret(self):
        secret = b"0123456789abcdef0123456789abcdef"
        vault = evidence.Vault(secret)
        assert repr(vault) == "Vault()"
        for leak in (pickle.dumps, copy.copy):
            with pytest.raises(SecretSerializationError):
                leak(vault)
        with pytest.raises(InvalidArgumentError) as error:
            evidence.Vault(secret[:20])
        assert "0123" not in str(error.value)


@pytest.fixture(scope="module")
def digits_key(digits):
    return hk.WatermarkKey(bytes(range(32)), digits.input_shape, digits.num_classes)


@pytest.fixture(scope="module")
def extractor(digits, digits_key):
    return hk.detection.fit_extractor(digits.train.x, digits_key.pattern, steps=150)


@pytest.fixture(scope="module")
def detector(digits, digits_key, classifier, extractor):
    return hk.Detector(digits_key).fit(classifier, extractor=extractor)


@pytest.fixture(scope="module")
def observer(detector, digits):
    return evidence.Observer(detector, digits.calibration.inputs)


def drawn(key, model, x, amplitude=0.25):
    """Images with the pattern of what they are taken for afterwards."""
    labels = model.predict(x, verbose=0).argmax(axis=1)
    for _ in range(3):
        marked = hk.Watermark(key).apply(x, amplitude, labels).numpy()
        labels = model.predict(marked, verbose=0).argmax(axis=1)
    return marked


class TestObserver:
    def test_sees_what_the_detector_and_the_model_do(self, observer, detector, digits, classifier):
        x = digits.test.x[:700]
        seen = observer.observe(x)
        assert np.array_equal(seen.classes, classifier.predict(x, verbose=0).argmax(axis=1))
        lengths = np.linalg.norm(seen.views, axis=1)
        assert 0.5 < np.median(lengths) < 2
        assert lengths.max() <= 4 + 1e-5
        codes = np.reshape(detector.watermark.project(x), (len(x), -1))
        assert np.allclose(seen.codes, codes, atol=1e-3)
        flat = detector.watermark.all_codes.reshape(10, -1)
        assert np.allclose(seen.projections, np.einsum("nd,nd->n", seen.views, flat[seen.classes]), atol=1e-4)
        assert np.allclose(seen.reading_projections, seen.readings.astype(float) @ flat.T, atol=1e-9)

    def test_projections_are_as_good_as_standard_normal(self, observer, digits):
        seen = observer.observe(digits.test.x)
        z = seen.projections / np.linalg.norm(seen.views, axis=1)
        assert abs(z.mean()) < 0.25
        assert 0.7 < z.std() < 1.3

    def test_of_data_sets_and_of_parts(self, observer, digits):
        x = digits.test.x[:100]
        whole = observer.observe(x)
        batches = observer.observe(tf.data.Dataset.from_tensor_slices((x, np.zeros(100))).batch(17))
        assert np.allclose(batches.views, whole.views, atol=1e-4)
        assert np.array_equal(batches.classes, whole.classes)

    def test_clean_clients_are_not_accused_and_who_draws_is(self, observer, digits, digits_key, classifier):
        assert not observer.ledger().update(observer.observe(digits.test.x)).accused
        marked = drawn(digits_key, classifier, digits.test.x[:100])
        assert observer.ledger().update(observer.observe(marked)).accused_at <= 10

    def test_another_key_sees_nothing(self, observer, digits, digits_key, classifier):
        marked = observer.observe(drawn(digits_key, classifier, digits.test.x[:200]))
        wrong = np.stack([hk.Watermark(each).all_codes.reshape(10, -1) for each in digits_key.wrong_keys()], -1)
        ledger = evidence.Ledger(observer.rules, keys=8)
        ledger.add(marked.under(wrong))
        assert not ledger.accused_at.any()

    def test_what_is_not_finite_leaves_no_trace(self, observer, digits):
        x = digits.test.x[:4].copy()
        x[1] = np.nan
        sight = type(observer.sight)(*map(tf.constant, observer.sight))
        look = tf.function(lambda x: observer.look(x, observer.detector.model(x), sight), autograph=False)
        _, views, projections, codes, readings, _ = (each.numpy() for each in look(tf.constant(x)))
        assert not views[1].any()
        assert not codes[1].any()
        assert not readings[1].any()
        assert projections[1] == 0
        assert np.isfinite(views).all()
        assert views[[0, 2, 3]].any(axis=1).all()

    def test_does_not_trace_again(self, observer, digits):
        observer.observe(digits.test.x[:10])
        before = observer._see.experimental_get_tracing_count()
        for size in (1, 3, 64, 100):
            observer.observe(digits.test.x[:size])
        assert observer._see.experimental_get_tracing_count() <= max(before, 2)

    def test_settings_of_a_ledger(self, observer):
        ledger = observer.ledger(alpha=0.01, window=32, margin=0.2)
        assert (ledger.rules.alpha, ledger.rules.window, ledger.rules.margin) == (0.01, 32, 0.2)

    def test_keeps_its_secret(self, observer, detector):
        assert repr(observer) == f"Observer(key_id={detector.key_id!r})"
        assert repr(observer.sight) == "Sight()"
        assert repr(observer.observe(np.zeros((2, 8, 8, 1), np.float32))) == "Observations(n=2)"
        for leak in (pickle.dumps, copy.copy):
            with pytest.raises(SecretSerializationError):
                leak(observer)

    def test_bad_input(self, observer, detector, digits, digits_key, classifier):
        x = digits.test.x
        with pytest.raises(InvalidArgumentError, match="at least 100 inputs"):
            evidence.Observer(detector, x[:99])
        with pytest.raises(InvalidArgumentError, match="must be fitted"):
            evidence.Observer(hk.Detector(digits_key), x)
        paper = hk.WatermarkKey(bytes(32), digits.input_shape, 10, pattern=hk.patterns.Scattered())
        with pytest.raises(InvalidArgumentError, match="a fitted detector that has an extractor"):
            evidence.Observer(hk.detection.PaperDetector(paper), x)
        with pytest.raises(InvalidArgumentError, match="must lie in"):
            observer.observe(np.full((1, 8, 8, 1), np.nan, np.float32))
        with pytest.raises(InvalidArgumentError, match="at least one query"):
            observer.observe(tf.data.Dataset.from_tensor_slices(x).batch(5).take(0))


@pytest.fixture(scope="module")
def versions(digits, digits_key, classifier, extractor):
    keys = {"v1": digits_key, "v2": digits_key.wrong_key(100)}
    return keys, {
        name: evidence.Observer(hk.Detector(key).fit(classifier, extractor=extractor), digits.calibration.inputs)
        for name, key in keys.items()
    }


class TestAttribution:
    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_names_the_version_that_was_attacked(self, version, versions, digits, classifier):
        keys, observers = versions
        found = evidence.attribute(drawn(keys[version], classifier, digits.test.x[:150]), observers)
        assert next(iter(found)) == version
        assert [name for name, each in found.items() if each.accused] == [version]

    def test_key_without_its_model(self, versions, digits, classifier):
        keys, observers = versions
        x = drawn(keys["v2"], classifier, digits.test.x[:300])
        only = {"v1": observers["v1"]}
        past = {"old": keys["v2"], "older": keys["v2"].wrong_key(3)}
        found = evidence.attribute(x, only, past_keys=past)
        assert next(iter(found)) == "old"
        assert [name for name, each in found.items() if each.accused] == ["old"]

    def test_nobody_of_clean_queries(self, versions, digits):
        found = evidence.attribute(digits.test.x, versions[1], past_keys={"old": versions[0]["v1"].wrong_key(5)})
        assert not any(each.accused for each in found.values())

    def test_bad_input(self, versions, digits):
        keys, observers = versions
        with pytest.raises(InvalidArgumentError, match="at least one version"):
            evidence.attribute(digits.test.x, {})
        with pytest.raises(InvalidArgumentError, match="names of their own"):
            evidence.attribute(digits.test.x, observers, past_keys={"v1": keys["v1"]})
        other = hk.WatermarkKey.generate((8, 8, 1), 3)
        with pytest.raises(InvalidArgumentError, match="must be like"):
            evidence.attribute(digits.test.x, observers, past_keys={"old": other})
