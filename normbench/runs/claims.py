"""Who trains what, where several processes share a file of runs. You need not read this to use the library."""

import os
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from normbench.training import Recipe


class Claims:
    """Locks on runs: one file each, in a folder beside the file of runs (PATH.claims).

    The locks belong to the process: when it ends, however it ends, they are free. `purpose` tells runs of one
    recipe apart that do not stand for each other, such as those on different data.
    """

    def __init__(self, path: str | os.PathLike, purpose: str):
        self._folder, self._purpose = Path(f"{os.fspath(path)}.claims"), purpose
        self._locks: dict[Recipe, FileLock] = {}

    @property
    def held(self) -> Collection[Recipe]:
        """The recipes whose locks this object holds."""
        return self._locks.keys()

    def take(self, recipe: Recipe) -> bool:
        """Lock a run; return False where someone else has it. Raises OSError where locks cannot be made."""
        name = sha256(f"{self._purpose} {recipe!r}".encode()).hexdigest()[:16]
        lock = FileLock(self._folder / f"{name}.lock", thread_local=False)
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=False)
            except Timeout:
                return False
            except FileNotFoundError:  # another process has just removed the empty folder
                continue
            self._locks[recipe] = lock
            return True

    def give_back(self, recipe: Recipe) -> None:
        """Unlock a run, and remove its file."""
        # A process that has opened the file already may lock it after its removal, and yet another its successor. What
        # they do next is to look whether the run is stored.
        lock = self._locks.pop(recipe)
        _remove(lock)
        lock.release()

    def close(self) -> None:
        """Unlock all; remove what killed processes have left, and the folder if no other process has a lock there."""
        for recipe in list(self._locks):
            self.give_back(recipe)
        for file in self._folder.glob("*.lock"):
            with suppress(Timeout, OSError):
                _remove(FileLock(file, blocking=False))
        with suppress(OSError):
            self._folder.rmdir()


def _remove(lock: FileLock) -> None:
    """Remove the lock's file while it is locked, so that nobody else is."""
    with lock, suppress(OSError):  # Windows does not remove an open file; there FileLock does, when it unlocks
        os.unlink(lock.lock_file)
