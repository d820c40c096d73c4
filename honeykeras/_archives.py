"""Zip archives from outside: members that are stored as they are, so that none is larger than the file itself."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Collection, Iterator
from typing import IO, NamedTuple

from honeykeras._files import PathLike
from honeykeras._messages import first_line


class Member(NamedTuple):
    """A member of an archive: its content, at its beginning, and how many bytes it has."""

    file: IO[bytes]
    size: int


@contextlib.contextmanager
def opened(path: PathLike, names: Collection[str]) -> Iterator[dict[str, Member]]:
    """Opens an archive.

    Args:
        path: The archive.
        names: What members it must hold, all of them and no others.

    Yields:
        The members by name. One whose content is not what its checksum says fails when it is read to its end.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such archive.
    """
    try:
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            infos = archive.infolist()
            if sorted(info.filename for info in infos) != sorted(names):
                raise ValueError(f"an archive that does not hold {', '.join(names)} and nothing else")
            # What is compressed may grow without bounds.
            if any(info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size for info in infos):
                raise ValueError("an archive that is compressed")
            yield {info.filename: Member(stack.enter_context(archive.open(info)), info.file_size) for info in infos}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise ValueError(f"no archive that can be read ({first_line(error)})") from None
