"""What is read as a key, and what is never replaced."""

import os
import socket
import stat

import pytest

import honeykeras as hk
from honeykeras import _files
from honeykeras._files import check_absent, read_file, staged, write_atomic
from honeykeras.cli.options import read_passphrase
from honeykeras.errors import InvalidArgumentError, KeyFileError, StorageError
from honeykeras.export import SealingKey, signing

# Whatever reads a secret that it is given the path of.
READERS = {
    "watermark key": hk.WatermarkKey.load,
    "sealing key": SealingKey.load,
    "passphrase": read_passphrase,
    "private key": lambda path: signing._check_key(path, private=True),
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def put(path, kind):
    """Makes what is no regular file."""
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "socket":
        # The path of a socket must be short.
        before = os.getcwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(path.name)
        finally:
            os.chdir(before)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


class TestRead:
    @readers
    @pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
    def test_what_is_no_file_neither_hangs_nor_fills_memory(self, read, kind, path):
        put(path, kind)
        with pytest.raises(
            (KeyFileError, StorageError), match=rf"{path} must be a regular file|Cannot read the .* {path}"
        ):
            read(path)

    @readers
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
    def test_secret_that_others_can_read(self, read, mode, path):
        path.write_bytes(bytes(32))
        path.chmod(mode)
        with pytest.raises(KeyFileError, match=rf"by its owner alone. Received: mode {mode:04o}. Run `chmod 600"):
            read(path)

    @readers
    def test_file_without_end(self, read, path):
        path.touch(0o600)
        os.truncate(path, 2**40)
        with pytest.raises(KeyFileError, match="must have at most 16777216 bytes"):
            read(path)

    @readers
    def test_file_that_is_not_there(self, read, path):
        with pytest.raises(StorageError, match=rf"Cannot read the .* {path}: No such file or directory"):
            read(path)

    def test_all_of_a_file(self, path):
        path.write_bytes(b"x" * 2**24)
        path.chmod(0o400)
        assert read_file(path, "file", private=True) == b"x" * 2**24

    def test_what_is_public_may_be_read_by_all(self, path):
        path.write_bytes(b"public")
        path.chmod(0o644)
        assert read_file(path, "file", private=False) == b"public"

    @pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
    def test_public_key_must_be_a_file_as_well(self, kind, path):
        put(path, kind)
        with pytest.raises(KeyFileError, match="must be a regular file"):
            signing._check_key(path, private=False)

    def test_leaves_nothing_open(self, path):
        before = len(os.listdir("/dev/fd"))
        path.mkdir()
        for _ in range(10):
            with pytest.raises(KeyFileError):
                read_file(path, "file", private=True)
        assert len(os.listdir("/dev/fd")) == before


def stage_file(path, meanwhile):
    with staged(path, overwrite=True) as scratch:
        scratch.touch()
        meanwhile()


def stage_folder(path, meanwhile):
    with staged(path, overwrite=True, holds=["part"]) as scratch:
        scratch.mkdir()
        meanwhile()


class TestReplace:
    @pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
    @pytest.mark.parametrize("overwrite", [True, False])
    def test_only_files(self, kind, overwrite, path):
        put(path, kind)
        before = os.lstat(path)
        for write in (
            lambda: check_absent(path, overwrite),
            lambda: write_atomic(path, b"new", overwrite=overwrite),
            lambda: hk.WatermarkKey.generate((4,), 2).save(path, overwrite=overwrite),
        ):
            with pytest.raises(StorageError, match="is a device, a pipe or a socket, and is never replaced"):
                write()
        assert os.lstat(path) == before
        assert os.listdir(path.parent) == ["file"]

    def test_nor_what_appeared_meanwhile(self, path):
        with pytest.raises(StorageError, match="is never replaced"):
            stage_file(path, meanwhile=lambda: os.mkfifo(path))
        assert stat.S_ISFIFO(path.stat().st_mode)

    def test_nor_a_folder_into_which_something_was_put_meanwhile(self, path):
        path.mkdir()
        (path / "part").touch()
        with pytest.raises(StorageError, match=r"holds what would be lost, thesis.tex for one"):
            stage_folder(path, meanwhile=(path / "thesis.tex").touch)
        assert sorted(os.listdir(path)) == ["part", "thesis.tex"]


class TestPath:
    @pytest.mark.parametrize("value", [None, 3, b"file", ["file"], "a\0b", "\ud800", "x\udfff"], ids=ascii)
    def test_what_is_none_is_one_error(self, value):
        for use in (
            _files.as_path,
            hk.WatermarkKey.load,
            SealingKey.load,
            hk.WatermarkKey.generate((4,), 2).save,
            SealingKey.generate().save,
        ):
            with pytest.raises(InvalidArgumentError, match="A path must be"):
                use(value)
