"""Policies: what is read, what is refused, and what is put in force and taken back."""

import pytest

from honeykeras.cli.policy import EXAMPLE
from honeykeras.errors import InvalidArgumentError, KeyFileError, SignatureError, StorageError
from honeykeras.export import signing
from honeykeras.gateway import policy_files
from honeykeras.gateway.policy import Policy


def test_the_example_is_the_default():
    assert Policy.parse(EXAMPLE.encode()) == Policy()


def test_nothing_is_the_default():
    assert Policy.parse(b"") == Policy()


def test_times_and_sizes_have_units():
    policy = Policy.parse(b'[accusation]\nduration = "2h"\n[logs]\nfile_size = "3 MB"\n[flag]\ndelay = 0.5')
    assert policy.accusation.duration == 7200
    assert policy.logs.file_size == 3 * 2**20
    assert policy.flag.delay == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "must be TOML"),
        ("\xff", "must be TOML"),
        ("verson = 2", r"Received at \$.verson: Extra inputs"),
        ("version = 0", r"\$.version: Input should be greater than 0"),
        ('version = "2"', r"\$.version"),
        ("shadow = 1", r"\$.shadow"),
        ("max_fpr = 1.5", r"\$.max_fpr: Input should be less than 1"),
        ('[flag]\naction = "kill"', r"\$.flag.action: Input should be 'observe', 'mislead', 'decoy'"),
        ('[flag]\ndelay = "soon"', r"\$.flag.delay"),
        ("[flag]\ndelay = -1", r"\$.flag.delay"),
        ("[flag]\ndelay = nan", r"\$.flag.delay"),
        ("[evidence]\nalpha = 0", r"\$.evidence.alpha"),
        ('[clients]\nrate = "often"', r"\$.clients.rate"),
        ('[clients]\nidentify = "header"', "`trusted_proxies` must name the proxies"),
        ('[clients]\ntrusted_proxies = ["everywhere"]', "does not appear to be an IPv4 or IPv6 network"),
        ('[clients]\nidentify = "key"', "`keys` must name clients"),
        ('[logs]\nfile_size = "2 GB"', "`total_size` must be at least `file_size`"),
        ("[logs]\nsample = 2", r"\$.logs.sample"),
        ("[limits]\nbody = 0", r"\$.limits.body"),
        ("[serve]\nmnist = 0", r"\$.serve.mnist"),
        ("[labels]\nmnist = 3", r"\$.labels.mnist"),
    ],
)
def test_mistakes_are_named_by_their_place(text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Policy.parse(text.encode("latin-1"))


def test_a_key_in_the_place_of_its_hash_is_not_repeated():
    with pytest.raises(InvalidArgumentError) as caught:
        Policy.parse(b'[clients]\nidentify = "key"\nkeys = {me = "this is my very key"}')
    assert "very" not in str(caught.value)


@pytest.fixture
def keys(tmp_path):
    signing.write_key_pair(tmp_path / "signing.pem", tmp_path / "signing.pub")
    return tmp_path / "signing.pem", tmp_path / "signing.pub"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "policy.toml").write_text("version = 1")
    return tmp_path / "policy.toml"


class TestSigned:
    def test_reads_what_was_signed(self, path, keys):
        policy_files.sign(path, keys[0])
        assert policy_files.read(path, keys[1]).version == 1

    def test_refuses_what_was_changed_since(self, path, keys):
        policy_files.sign(path, keys[0])
        path.write_text("version = 2")
        with pytest.raises(SignatureError, match="must be what was signed"):
            policy_files.read(path, keys[1])

    def test_refuses_what_nobody_signed(self, path, keys):
        with pytest.raises(StorageError, match=r"signature of .* must be at"):
            policy_files.read(path, keys[1])

    def test_refuses_what_others_signed(self, path, keys, tmp_path):
        signing.write_key_pair(tmp_path / "other.pem", tmp_path / "other.pub")
        policy_files.sign(path, tmp_path / "other.pem")
        with pytest.raises(SignatureError):
            policy_files.read(path, keys[1])

    def test_signs_policies_alone(self, path, keys):
        path.write_text("version = -1")
        with pytest.raises(InvalidArgumentError):
            policy_files.sign(path, keys[0])
        assert not policy_files.signature_path(path).exists()

    def test_needs_the_private_key(self, path, keys):
        with pytest.raises(KeyFileError):
            policy_files.sign(path, keys[1])


class TestInForce:
    def install(self, path, version, keys=None):
        new = path.with_name("next.toml")
        new.write_text(f"version = {version}")
        if keys is not None:
            policy_files.sign(new, keys[0])
        return policy_files.install(new, path, None if keys is None else keys[1])

    def test_install_keeps_the_old_one_and_rollback_brings_it_back(self, path):
        assert self.install(path, 2).version == 2
        assert self.install(path, 5).version == 5
        assert policy_files.rollback(path).version == 2
        assert policy_files.read(path).version == 2
        assert policy_files.rollback(path).version == 1
        with pytest.raises(InvalidArgumentError, match="must be a policy before version 1"):
            policy_files.rollback(path)

    def test_a_signature_goes_with_its_policy(self, path, keys):
        policy_files.sign(path, keys[0])
        self.install(path, 2, keys)
        assert policy_files.read(path, keys[1]).version == 2
        assert policy_files.rollback(path, keys[1]).version == 1
        assert policy_files.read(path, keys[1]).version == 1

    def test_what_does_not_verify_is_not_put_in_force(self, path, keys):
        policy_files.sign(path, keys[0])
        new = path.with_name("next.toml")
        new.write_text("version = 2")
        with pytest.raises(StorageError):
            policy_files.install(new, path, keys[1])
        assert policy_files.read(path, keys[1]).version == 1

    @pytest.mark.parametrize("version", [1, 2])
    def test_a_version_is_in_force_once(self, path, version):
        self.install(path, 2)
        self.install(path, 3)
        with pytest.raises(InvalidArgumentError, match="was not in force before"):
            self.install(path, version)

    def test_the_first_one(self, tmp_path):
        assert self.install(tmp_path / "policy.toml", 4).version == 4
