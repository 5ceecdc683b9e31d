"""Pictures of a folder as items, and the folder as their source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hotfill.errors import InputError, SourceError
from hotfill.integrations.items import ItemBatch, in_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hotfill.stores.base import Metadata

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Every picture below a folder. An item's id is its path in the folder, "cats/tom.jpg".

    The content is the bytes of the file. The metadata is {"folder": "cats"}, where there is one.
    As a source it reads the files that are asked for; other paths than of pictures inside the
    folder have no content.
    """

    path: Path

    def batches(self, size: int = 256, /) -> Iterator[ItemBatch]:
        """Yield all pictures, by name. Raises InputError when there is none, SourceError."""
        yield from in_batches(self._items(), size)

    def __call__(self, item_ids: Sequence[str], /) -> dict[str, bytes]:
        """Read pictures by id; those that are not there are left out. Raises SourceError."""
        found = {}
        for item_id in item_ids:
            path = self._inside(item_id)
            if path is not None:
                found[item_id] = _read(path)
        return found

    def _items(self) -> Iterator[tuple[str, bytes, Metadata]]:
        if not self.path.is_dir():
            raise InputError(f"{self.path} is not a folder")
        paths = sorted(path for path in self.path.rglob("*") if _is_picture(path))
        if not paths:
            raise InputError(f"{self.path}: expected pictures ({', '.join(ENDINGS)}), found none")
        for path in paths:
            name = path.relative_to(self.path)
            metadata = {} if name.parent == Path() else {"folder": name.parent.as_posix()}
            yield name.as_posix(), _read(path), metadata

    def _inside(self, item_id: str) -> Path | None:
        """The picture of an id; None for what is none, or lies elsewhere."""
        path = self.path / item_id
        inside = path.resolve().is_relative_to(self.path.resolve())
        return path if inside and _is_picture(path) else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and path.is_file()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def open_source(*, path: str) -> ImageFolder:
    """Make the source from the options of a configuration file. Raises InputError."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    return ImageFolder(folder)
