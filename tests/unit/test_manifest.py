"""The manifest of a version folder says what it is and holds, and takes nothing else for a manifest."""

import json
import os
import shutil

import pytest

from honeykeras import manifest
from honeykeras.errors import InvalidArgumentError, SignatureError, StorageError

IDENTITY = manifest.Identity("digits", 3, "hosted", "0123456789abcdef")


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "digits" / "3"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    manifest.write(folder, IDENTITY)
    return folder


def change(folder, **entries):
    """Puts other entries into a manifest."""
    document = json.loads((folder / manifest.FILE).read_text()) | entries
    (folder / manifest.FILE).write_text(json.dumps(document))


def assert_refused(version, match):
    with pytest.raises(StorageError, match=match) as caught:
        manifest.check(version)
    assert "\n" not in str(caught.value)


def test_is_read_as_it_was_written(version):
    assert manifest.check(version) == manifest.read(version)
    assert manifest.read(version).identity == IDENTITY
    assert set(manifest.read(version).files) == {"saved_model.pb", "variables/data"}


def test_is_a_file_that_shell_scripts_can_read(version):
    """A key on a line of its own, whatever the values."""
    lines = (version / manifest.FILE).read_text().splitlines()
    assert ' "format": 2,' in lines
    assert ' "name": "digits",' in lines
    assert ' "role": "hosted",' in lines
    assert ' "version": 3' in lines
    assert set(json.loads("\n".join(lines))) == {"build_id", "files", "format", "key_id", "name", "role", "version"}


class TestFiles:
    @pytest.mark.parametrize("name", ["saved_model.pb", "variables/data"])
    @pytest.mark.parametrize(
        ("damage", "what"),
        [
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "was altered"),
            (lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]), "was altered"),
            (lambda path: path.unlink(), "is missing"),
            (lambda path: path.with_name("more").touch(), "more was added"),
        ],
        ids=["truncated", "altered", "missing", "added"],
    )
    def test_that_are_not_as_they_were_are_told(self, version, name, damage, what):
        damage(version / name)
        assert_refused(version, what)

    def test_that_are_links_are_refused(self, version, tmp_path):
        """What they lead to is not in the folder, and can change."""
        path = version / "variables" / "data"
        shutil.move(path, tmp_path / "data")
        path.symlink_to(tmp_path / "data")
        assert_refused(version, "variables/data, which is a link or a device")

    def test_that_are_links_to_folders_are_refused(self, version, tmp_path):
        shutil.move(version / "variables", tmp_path / "variables")
        (version / "variables").symlink_to(tmp_path / "variables")
        assert_refused(version, "variables, which is a link or a device")

    def test_that_are_pipes_are_refused(self, version):
        os.mkfifo(version / "pipe")
        assert_refused(version, "pipe, which is a link or a device")

    def test_none_in_an_added_folder(self, version):
        (version / "variables" / "more" / "and more").mkdir(parents=True)
        assert_refused(version, r"variables/more/ was added")

    def test_in_a_thousand_folders_within_each_other(self, version):
        path = version
        for _ in range(1200):
            path = path / "f"
            path.mkdir()
        try:
            assert_refused(version, "f/ was added")
        finally:
            # What removes whole trees goes as deep as they do.
            while path != version:
                path.rmdir()
                path = path.parent

    def test_with_names_that_are_no_text(self, version):
        with open(os.fsencode(version) + b"/\xff", "w"):
            pass
        assert_refused(version, r"\\udcff was added")

    def test_none_without_a_manifest(self, version):
        (version / manifest.FILE).unlink()
        assert_refused(version, r"Cannot read .*manifest\.json")


SHA = "0" * 64
FILES = {"a": {"sha256": SHA, "bytes": 1}}


class TestMalformed:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b"null",
            b"{",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"1" * 10_000,
            b" " * 2**24 + b"{}",
        ],
        ids=range(9),
    )
    def test_files_are_refused(self, version, content):
        (version / manifest.FILE).write_bytes(content)
        assert_refused(version, "must be a manifest")

    @pytest.mark.parametrize("files", [None, [], "a", 3, {"a": None}, {"a": []}, {"a": {}}, {"a": {"sha256": SHA}}])
    def test_lists_of_files_are_refused(self, version, files):
        change(version, files=files)
        assert_refused(version, "must be a manifest")

    @pytest.mark.parametrize(
        "entry",
        [
            {"sha256": SHA[1:], "bytes": 1},
            {"sha256": SHA[1:] + "g", "bytes": 1},
            {"sha256": 0, "bytes": 1},
            {"sha256": SHA, "bytes": -1},
            {"sha256": SHA, "bytes": 1.0},
            {"sha256": SHA, "bytes": True},
            {"sha256": SHA, "bytes": 10**30},
            {"sha256": SHA, "bytes": 1, "more": 1},
        ],
    )
    def test_entries_are_refused(self, version, entry):
        change(version, files={"a": entry})
        assert_refused(version, "`bytes`, a number, and `sha256`, 64 hexadecimal digits")

    @pytest.mark.parametrize(
        "name", ["", ".", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "\ud800", "a\0b", manifest.FILE]
    )
    def test_names_of_files_are_refused(self, version, name):
        change(version, files={name: FILES["a"]})
        assert_refused(version, "must be relative paths, in UTF-8")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("format", 1),
            ("format", 3),
            ("format", "2"),
            ("format", 2.0),
            ("format", True),
            ("name", None),
            ("name", ""),
            ("name", "a/b"),
            ("name", ".."),
            ("name", ["digits"]),
            ("name", "\udc80"),
            ("version", 0),
            ("version", -1),
            ("version", "3"),
            ("version", 3.0),
            ("version", True),
            ("version", 2**63),
            ("role", "other"),
            ("role", None),
            ("role", []),
            ("role", "public"),
            ("key_id", None),
            ("key_id", 3),
            ("key_id", "0123456789ABCDEF"),
            ("key_id", "0123456789abcde"),
            ("more", 1),
        ],
    )
    def test_identities_are_refused(self, version, key, value):
        change(version, **{key: value})
        assert_refused(version, "must be a manifest")

    def test_one_without_an_identity_is_refused(self, version):
        (version / manifest.FILE).write_text(json.dumps({"format": 2, "files": FILES}))
        assert_refused(version, "must have the keys build_id, files, format, key_id, name, role, version")


class TestIdentity:
    def test_is_that_of_its_place(self, version):
        made = manifest.Identity.of_place(version, "0123456789abcdef")
        assert made == IDENTITY
        made.check(version)
        assert manifest.Identity.of_place(version).role == "public"

    def test_of_a_relative_place(self, version, monkeypatch):
        monkeypatch.chdir(version.parent)
        assert manifest.Identity.of_place("../digits/3") == manifest.Identity("digits", 3, "public")

    @pytest.mark.parametrize("place", ["m/latest", "m/0", "m/01", "/1", "m/9223372036854775808", b"\xff/1"])
    def test_needs_a_name_and_a_number(self, place):
        with pytest.raises(InvalidArgumentError, match="must be called by its number, in a folder that has a name"):
            manifest.Identity.of_place(os.fsdecode(place))

    @pytest.mark.parametrize(
        ("place", "what"),
        [("digits/9", "version must be 9. Received: 3"), ("digits/03", "version"), ("other/3", "name must be other")],
    )
    def test_in_another_place_is_refused(self, place, what):
        with pytest.raises(SignatureError, match=what):
            IDENTITY.check(place)

    @pytest.mark.parametrize(
        ("expected", "what"),
        [
            ({"name": "other"}, "name must be other. Received: digits"),
            ({"role": "public"}, "role must be public. Received: hosted"),
            ({"key_id": "f" * 16}, "sealing key must be ffffffffffffffff. Received: 0123456789abcdef"),
        ],
    )
    def test_other_than_expected_is_refused(self, expected, what):
        with pytest.raises(SignatureError, match=what):
            IDENTITY.check("digits/3", **expected)

    def test_without_a_key_where_one_is_expected_is_refused(self):
        """As where an artifact to hand out was put in the place of the other."""
        with pytest.raises(SignatureError, match=r"sealing key must be ffffffffffffffff\. Received: none"):
            manifest.Identity("digits", 3, "public").check("digits/3", key_id="f" * 16)

    def test_of_a_stated_name_may_be_in_any_folder(self):
        IDENTITY.check("mounted/3", name="digits", role="hosted", key_id=IDENTITY.key_id)
