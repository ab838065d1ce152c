"""Rows looked at on all processors, and told in the order of the table, as if there were one."""

from collections import deque, namedtuple
from collections.abc import Iterable, Iterator

from postroom import worker
from postroom.check.row import Found, RowCheck

# So many rows are looked at before anybody else is asked: that takes about as long as to make a process.
ALONE = 300
ASKED = 2  # shares that each worker has, so that it never waits for us
SPARE_SHARES = 4  # that we may be ahead with ourselves

Share = namedtuple("Share", "rows wanted faults")
Share.__doc__ = """Some rows of the table, one behind the other: all that is known of them, what is wanted of RowCheck.find(), and what was wrong with the
table up to here."""


class Crew:
    """This process and a worker for each processor beside it. A context manager; raises WorkerLost where one was ended from outside."""

    def __init__(self, check: RowCheck):
        self._check, self._workers, self._alone = check, {}, ALONE

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self._workers:
            one.close()

    def through(self, shares: Iterable[Share]) -> Iterator[tuple[Share, list[Found]]]:
        """Each share with what was found in its rows. Nothing is found where nobody was asked: then it is as quick to look when it is needed."""
        under_way = deque()  # (share, the worker that was asked or None, what was found already)
        for share in shares:
            under_way.append((share, *self._begun(share.wanted)))
            while under_way and (len(under_way) > ASKED * len(self._workers) + SPARE_SHARES or under_way[0][1] is None or under_way[0][1].has_answer()):
                yield self._finished(*under_way.popleft())
        for begun in under_way:
            yield self._finished(*begun)

    def _begun(self, wanted):
        if self._alone > 0:
            self._alone -= len(wanted)
            if self._alone <= 0:
                self._workers = {one: 0 for one in (worker.started(self._serve) for _ in range(worker.spare())) if one is not None}
            return None, []
        if not self._workers or not wanted:
            return None, []
        idle = min(self._workers, key=self._workers.get)
        if self._workers[idle] == ASKED:
            return None, self._check.find(wanted)
        idle.ask([([*row.values()], *others) for row, *others in wanted])
        self._workers[idle] += 1
        return idle, []

    def _finished(self, share, asked, found):
        if asked is None:
            return share, found
        found, read = asked.answer()
        self._workers[asked] -= 1
        if read is not None:
            self._check.composer.learn(read)
        return share, found

    def _serve(self, shares):
        """A worker's life."""
        composer = self._check.composer
        known = sum(map(len, composer.read_so_far()))
        for wanted in shares:
            found = self._check.find([(dict(zip(composer.table.columns, cells, strict=True)), *others) for cells, *others in wanted])
            number = sum(map(len, composer.read_so_far()))
            yield found, composer.read_so_far() if number > known else None
            known = number
