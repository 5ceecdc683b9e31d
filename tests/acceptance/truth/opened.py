"""One object to search, write and lead with, of a configuration file."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

from hotfill import config
from hotfill.upgrade.phases import Step


class _Up:
    def __init__(self, project, stack) -> None:
        self._journal = project.journal()
        stack.callback(self._journal.close)
        self._gallery = stack.enter_context(project.gallery())
        self._serving = project.serving(self._gallery, self._journal)
        self._project = project
        self._engine = None

    @property
    def phase(self):
        return self._journal.phase

    @property
    def gallery(self):
        return self._gallery

    def stop(self):
        if self._engine is not None:
            self._engine.stop.set()

    def _lead(self, step):
        plan = None if step is Step.START else self._project.plan_in_force(self._journal)
        up = self._project.upgrade(self._gallery, self._journal, plan)
        up.on_phase, up.on_fit = self._serving.follow, self._serving.refit
        self._engine = up
        return up

    def start(self):
        return self._lead(Step.START).start()

    def verify(self):
        return self._lead(Step.VERIFY).verify()

    def cutover(self):
        return self._lead(Step.CUTOVER).cutover()

    def rollback(self):
        return self._lead(Step.ROLLBACK).rollback()

    def complete(self):
        return self._lead(Step.COMPLETE).complete()

    def abort(self):
        return self._lead(Step.ABORT).abort()

    def search(self, query, k):
        return self._serving.search([query], k)[0]

    def upsert(self, item_ids, contents):
        self._serving.upsert(item_ids, contents)

    def delete(self, item_ids):
        return self._serving.delete(item_ids)


@contextmanager
def opened(path):
    with ExitStack() as stack:
        yield _Up(config.read(path), stack)
