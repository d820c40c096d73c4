import copy
import hashlib
import hmac
import json
import pickle

import numpy as np
import pytest
from scipy import stats

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError, SecretSerializationError

MASTER = bytes(range(32))
# Python refuses to write so long a number, and so does a message that is careless.
HUGE = pytest.param(10**5000, id="huge")


@pytest.fixture(scope="module", autouse=True)
def keys_that_repeat():
    """Not here: where keys come from is told."""


def make(master=MASTER, input_shape=(4, 4, 1), num_classes=10, **kwargs):
    kwargs.setdefault("pattern", hk.patterns.Scattered())
    return hk.WatermarkKey(master, input_shape, num_classes, **kwargs)


class TestDerivations:
    """Pinned: files and models of today must mean the same tomorrow."""

    def test_subkeys(self):
        key = make()
        assert key.key_id == "4e3f7bffa159b320"
        assert key.derive("features").hex() == "631d9fe0c30b0af8618869e42fe31bfeb56e34ee76ad455a8a28b254bf619244"
        assert key.derive("pattern").hex() == "16ccb1c200cb8318ce43d78b624a659294bf93e726af2b9679d4e1d1e71d00ad"
        assert key.derive("labels").hex() == "df203beaa13aea36a2872b0a0d1c77a93c24bacabd4dc335f791dcf2f380ceeb"

    def test_are_rfc_5869(self):
        """The same by hand, from the standard library alone."""
        key = make()
        description = json.dumps(key.description.get_config(), sort_keys=True, separators=(",", ":")).encode()
        extracted = hmac.digest(hashlib.sha256(description).digest(), MASTER, "sha256")
        assert key.derive("labels") == hmac.digest(extracted, b"honeykeras/v1/labels\x01", "sha256")

    def test_scattered_pattern(self):
        assert np.flatnonzero(hk.Watermark(make()).patterns().numpy()).tolist() == [1, 5, 9, 13]

    def test_signed_pattern(self):
        pattern = hk.Watermark(make(pattern=hk.patterns.Scattered(0.25, signed=True))).patterns().numpy()
        chosen = np.flatnonzero(pattern)
        assert list(zip(chosen.tolist(), pattern.ravel()[chosen].tolist(), strict=True)) == [
            (2, -1.0),
            (7, -1.0),
            (10, 1.0),
            (14, 1.0),
        ]

    def test_seed(self):
        assert make().draw_seed("labels").tolist() == [3957039689692291295, -6235484316740384862]

    def test_wrong_key(self):
        assert make().wrong_key(0).key_id == "c8487297e986800b"

    @pytest.mark.parametrize(
        "other",
        [
            make(bytes(32)),
            make(num_classes=9),
            make(input_shape=(16,)),
            make(input_range=(0, 255)),
            make(pattern=hk.patterns.Scattered(0.5)),
            make(pattern=hk.patterns.Scattered(0.25, signed=True)),
        ],
        ids=["master", "classes", "shape", "range", "size", "signed"],
    )
    def test_bytes_and_description_both_count(self, other):
        assert other.key_id != make().key_id
        assert other.derive("features") != make().derive("features")
        assert other != make()

    @pytest.mark.parametrize("length", [0, -1, 8161, 100_000, HUGE, 8.0, "8", None, True])
    def test_length_is_what_hkdf_can_give(self, length):
        assert len(make().derive("labels", 8160)) == 8160
        with pytest.raises(InvalidArgumentError, match="`length` must be a whole number from 1 to 8160"):
            make().derive("labels", length)

    @pytest.mark.parametrize("purpose", [b"labels", 3, None, "\ud800"])
    @pytest.mark.parametrize("derive", ["derive", "draw_seed"])
    def test_purpose_is_text(self, derive, purpose):
        with pytest.raises(InvalidArgumentError, match="`purpose` must be text"):
            getattr(make(), derive)(purpose)

    @pytest.mark.parametrize("index", [-1, 1.0, "0", None, HUGE])
    def test_index_of_a_wrong_key_is_a_number(self, index):
        with pytest.raises(InvalidArgumentError, match="`index` must be a whole number"):
            make().wrong_key(index)

    def test_purposes_are_independent(self):
        key = make()
        assert len({key.derive(purpose) for purpose in ("features", "pattern", "labels", "key-id")}) == 4

    def test_wrong_keys_differ_from_the_key_and_each_other(self):
        key = make()
        assert len({key.key_id, *(wrong_key.key_id for wrong_key in key.wrong_keys())}) == 9
        assert key.wrong_key(3) == key.wrong_key(3)
        assert key.wrong_key(3).description == key.description


class TestRangesOfFeatures:
    def make(self, low=(0, -1, 50), high=(1, 1, 2000), **kwargs):
        return make(input_shape=(3,), input_range=(low, high), **kwargs)

    def test_derivations_are_pinned(self):
        key = self.make()
        assert key.key_id == "7bbd202205c0a7ab"
        assert key.derive("features").hex() == "0b2eb4294410b3af644500deb6d6649456410bed40dc07918b07638de10b9743"

    def test_the_same_in_any_container(self):
        key = self.make()
        assert key.input_range == hk.InputRange((0.0, -1.0, 50.0), (1.0, 1.0, 2000.0))
        hash(key.input_range)
        for other in (self.make([0, -1, 50], [1, 1, 2000]), self.make(*np.float32([[0, -1, 50], [1, 1, 2000]]))):
            assert other == key
            assert other.key_id == key.key_id

    def test_every_end_counts(self):
        assert self.make(high=(1, 1, 2001)).key_id != self.make().key_id

    def test_wrong_keys_have_them(self):
        assert self.make().wrong_key(0).description == self.make().description

    def test_repr_is_short(self):
        assert "2000" not in repr(self.make())

    def test_of_inputs_of_any_shape(self):
        low = np.arange(6.0).reshape(2, 3)
        key = make(input_shape=(2, 3), input_range=(low, low + 1))
        assert key.input_range == hk.InputRange(((0, 1, 2), (3, 4, 5)), ((1, 2, 3), (4, 5, 6)))


class TestPatterns:
    @pytest.mark.parametrize("shape", [(1,), (30,), (28, 28, 1), (32, 32, 3), (5, 7), (2, 3, 4, 5)])
    def test_any_shape(self, shape):
        pattern = hk.Watermark(hk.WatermarkKey.generate(shape, 2, pattern=hk.patterns.Scattered())).patterns().numpy()
        assert pattern.shape == (1, *shape)
        assert pattern.dtype == np.float32
        assert np.count_nonzero(pattern) == max(1, round(np.prod(shape) / 4))
        assert set(np.unique(pattern)) <= {0, 1}

    @pytest.mark.parametrize(("size", "count"), [(1e-9, 1), (0.1, 10), (1, 100)])
    def test_size_is_a_share_of_the_features(self, size, count):
        key = hk.WatermarkKey.generate((10, 10), 2, pattern=hk.patterns.Scattered(size))
        assert np.count_nonzero(hk.Watermark(key).patterns().numpy()) == count

    def test_positions_are_uniform(self):
        """Chi-square over many keys; 5 positions of 7 would show a modulo bias of any common kind."""
        counts = np.zeros(7)
        for number in range(3000):
            key = hk.WatermarkKey(number.to_bytes(32, "big"), (7,), 2, pattern=hk.patterns.Scattered(0.15))
            counts += hk.Watermark(key).patterns().numpy()[0]
        assert counts.sum() == 3000
        assert stats.chisquare(counts).pvalue > 1e-4

    def test_signs_are_balanced(self):
        family = hk.patterns.Scattered(1.0, signed=True)
        pattern = hk.Watermark(hk.WatermarkKey(MASTER, (10_000,), 2, pattern=family)).patterns().numpy()
        assert set(np.unique(pattern)) == {-1, 1}
        assert stats.binomtest(int((pattern > 0).sum()), 10_000).pvalue > 1e-4

    @pytest.mark.parametrize(
        ("shape", "size", "code_shape"),
        [
            ((28, 28, 1), 1, (28, 28, 1)),
            ((32, 32, 3), 2, (16, 16, 3)),
            ((64, 64, 1), 2, (32, 32, 1)),
            ((224, 200, 3), 13, (18, 16, 3)),
            ((5000,), 1, (5000,)),
            ((8, 8, 1), 1, (8, 8, 1)),
            ((30,), 1, (30,)),
        ],
    )
    def test_blocks_are_the_default_and_suit_the_inputs(self, shape, size, code_shape):
        """One pattern a class, constant on blocks, of some 800 for an image, which `project` reads off again."""
        key = hk.WatermarkKey(MASTER, shape, 3)
        assert key.pattern == hk.patterns.Blocks(size)
        watermark = hk.Watermark(key)
        patterns = watermark.patterns().numpy()
        assert patterns.shape == (3, *shape)
        assert set(np.unique(patterns)) == {-1, 1}
        assert key.draw_codes().shape == (3, *code_shape)
        assert np.allclose(watermark.project(patterns), key.draw_codes())

    def test_signs_of_blocks_are_balanced_and_classes_differ(self):
        codes = hk.WatermarkKey(MASTER, (64, 64, 3), 5, pattern=hk.patterns.Blocks(2)).draw_codes().reshape(5, -1)
        assert stats.binomtest(int((codes > 0).sum()), codes.size).pvalue > 1e-4
        assert np.abs(np.corrcoef(codes) - np.eye(5)).max() < 0.1

    @pytest.mark.parametrize(("shape", "size"), [((30,), 2), ((4, 4, 1), 5), ((3, 4, 4, 1), 2)])
    def test_blocks_must_fit_the_inputs(self, shape, size):
        with pytest.raises(InvalidArgumentError, match="`block_size` above 1 needs images"):
            hk.WatermarkKey(MASTER, shape, 3, pattern=hk.patterns.Blocks(size))

    def test_equal_words_are_drawn_again(self):
        class Stream:
            batches = iter([np.array([5, 5, 1], np.uint64), np.array([3, 1, 2], np.uint64)])

            def words(self, count):
                return next(self.batches)

        assert hk.patterns.random_permutation(Stream(), 3).tolist() == [1, 2, 0]


class TestGenerate:
    def test_two_keys_differ(self):
        assert hk.WatermarkKey.generate((4,), 2) != hk.WatermarkKey.generate((4,), 2)

    def test_entropy_is_the_systems(self, monkeypatch):
        """NumPy's generator has no say in it."""
        monkeypatch.setattr("secrets.token_bytes", lambda count: MASTER[:count])
        np.random.seed(0)
        assert hk.WatermarkKey.generate((4, 4, 1), 10, pattern=hk.patterns.Scattered()) == make()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"input_shape": ()}, "`input_shape` must be one or more whole numbers"),
            ({"input_shape": (0, 3)}, "Received: input_shape=(0, 3)"),
            ({"input_shape": 28}, "Received: input_shape=28"),
            ({"input_shape": (None, 28)}, "`input_shape`"),
            ({"input_shape": (2.5,)}, "`input_shape`"),
            ({"num_classes": 1}, "`num_classes` must be a whole number from 2 to 1048576. Received: num_classes=1."),
            ({"input_shape": (10**5, 10**5)}, "must have at most 16777216 features"),
            ({"input_shape": (1,) * 17}, "along at most 16 axes"),
            ({"input_shape": (10**5000,)}, "must have at most 16777216 features"),
            ({"num_classes": 2.0}, "`num_classes` must be a whole number"),
            ({"num_classes": 10**5000}, "`num_classes` must be a whole number"),
            ({"num_classes": True}, "`num_classes` must be a whole number"),
            ({"pattern": "blocks"}, "`pattern` must be a family of `honeykeras.patterns`, such as Blocks(2) or Scatt"),
            ({"pattern": hk.patterns.Blocks}, "`pattern` must be a family"),
            ({"pattern": 2}, "Received: pattern=2."),
            ({"input_range": (1, 0)}, "`input_range` must be two finite numbers (low, high) with low < high"),
            ({"input_range": (0, float("inf"))}, "`input_range`"),
            ({"input_range": 1}, "`input_range`"),
            ({"input_range": (1e8, 1e8 + 1)}, "low < high in float32"),
            (
                {"input_range": ([0] * 3, [1] * 3)},
                "of an input of shape (4,). Received: input_range=((0.0, 0.0, 0.0), ",
            ),
            ({"input_range": (0, [1] * 4)}, "Received: input_range=(0, [1, 1, 1, 1])"),
            ({"input_range": ([0, 0], [1])}, "`input_range`"),
            ({"input_range": ([0, [0]], [1, [1]])}, "`input_range`"),
            (
                {"input_range": ([0, 0, 7, 7], [1, 1, 7, 7])},
                "Received: input_range=[7, 7] at feature 2. Leave out a feature that does not vary",
            ),
            ({"input_range": ([0] * 4, [1, 1, 1, float("nan")])}, "Received: input_range=[0, nan] at feature 3."),
            (
                {"input_shape": (2, 2), "input_range": ([[0, 0], [0, 1]], [[1, 1], [1, 0]])},
                "Received: input_range=[1, 0] at feature (1, 1).",
            ),
            (
                {"input_shape": (2**16 + 1,), "input_range": np.arange(2)[:, None] * np.ones(2**16 + 1)},
                "`input_range` must be two numbers for inputs of more than 65536 features",
            ),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(InvalidArgumentError) as raised:
            hk.WatermarkKey.generate(**{"input_shape": (4,), "num_classes": 2, **arguments})
        assert message in str(raised.value)

    @pytest.mark.parametrize("master", [None, "0" * 32, bytearray(32), bytes(31), bytes(33)])
    def test_bad_master(self, master):
        with pytest.raises(InvalidArgumentError, match="`master` must be 32 bytes"):
            make(master)

    @pytest.mark.parametrize("size", [0, -1, 1.0, "2", None, HUGE])
    def test_bad_block_size(self, size):
        with pytest.raises(InvalidArgumentError, match="`block_size` must be a whole number"):
            hk.patterns.Blocks(size)

    @pytest.mark.parametrize("size", [0, -0.1, 1.1, float("nan"), "a", True, None, HUGE])
    def test_bad_size(self, size):
        with pytest.raises(InvalidArgumentError, match=r"`watermark_size` must be a number in \(0, 1\]"):
            hk.patterns.Scattered(size)


class TestSecrecy:
    def test_repr_holds_no_secret(self):
        secret = make()
        assert repr(secret) == f"WatermarkKey(key_id='{secret.key_id}', input_shape=(4, 4, 1), num_classes=10)"

    def test_bad_master_is_not_repeated(self):
        with pytest.raises(InvalidArgumentError) as raised:
            make(b"a secret that is too short")
        assert "secret that" not in str(raised.value)

    @pytest.mark.parametrize("action", [pickle.dumps, copy.copy, copy.deepcopy])
    @pytest.mark.parametrize(
        "holder",
        [
            pytest.param(lambda key: key, id="key"),
            pytest.param(hk.Watermark, id="watermark"),
            pytest.param(lambda key: hk.Honeypot(key, "paper"), id="honeypot"),
            pytest.param(hk.detection.PaperDetector, id="detector"),
        ],
    )
    def test_holders_of_secrets_refuse_to_be_pickled(self, action, holder):
        with pytest.raises(SecretSerializationError):
            action(holder(make()))
