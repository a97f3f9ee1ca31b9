"""Leases, and claims of results, faces and checks: whatever happens, in whatever order, nothing has two holders.

Time passes by moving the ends of leases in the database, which is the same as moving its clock.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Table, delete, select, update

from prefect_jobs.store import Store
from prefect_jobs.store.tables import CHECKS, JOBS, LEASES
from tests.support import draft

OWNERS = ["one", "two", "three"]
THINGS = [0, 1]
#: Leases end in between whole thousands of seconds, and time passes by those: a slow machine changes nothing.
LENGTHS = [500, 1500, 2500]
STEPS = [1000, 2000]
QUICK = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)

owners = st.sampled_from(OWNERS)
things = st.sampled_from(THINGS)
lengths = st.sampled_from(LENGTHS)


def passes(store: Store, table: Table, columns: tuple[str, ...], seconds: int) -> None:
    """Moves moments in a table into the past."""
    key = next(iter(table.primary_key.columns))
    with store.database.writing() as connection:
        for row in connection.execute(select(key, *(table.c[name] for name in columns))).all():
            moments = {
                name: moment - timedelta(seconds=seconds)
                for name, moment in zip(columns, row[1:], strict=True)
                if moment is not None
            }
            if moments:
                connection.execute(update(table).where(key == row[0]).values(**moments))


class Leases:
    """The leases of :class:`prefect_jobs.store.leases.LeaseStore`."""

    table: Table = LEASES
    column = "until"
    #: Whether giving back is about one thing; else about all that one holds.
    one_by_one = True

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.database.writing() as connection:
            connection.execute(delete(LEASES))

    def claim(self, thing: int, owner: str, seconds: float) -> bool:
        return self.store.claim_lease(f"thing {thing}", owner, seconds)

    def release(self, thing: int, owner: str) -> None:
        self.store.release_lease(f"thing {thing}", owner)

    def holders(self) -> list[str | None]:
        """Who stands in the database, whether or not the time is over."""
        with self.store.database.reading() as connection:
            found = {name: owner for name, owner in connection.execute(select(LEASES.c.name, LEASES.c.owner))}
        return [found.get(f"thing {thing}") for thing in THINGS]


class Results(Leases):
    """Who processes the results of jobs."""

    table = JOBS
    column = "results_until"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.jobs = [store.insert(draft()).id for _ in THINGS]

    def claim(self, thing: int, owner: str, seconds: float) -> bool:
        return self.store.claim_results(self.jobs[thing], owner, seconds)

    def release(self, thing: int, owner: str) -> None:
        self.store.release_results(self.jobs[thing], owner)

    def holders(self) -> list[str | None]:
        found = {record.id: record.results_owner for record in self.store.records(self.jobs)}
        return [found[job_id] for job_id in self.jobs]


class Faces(Results):
    """Who shows jobs in Prefect."""

    column = "face_until"
    one_by_one = False

    def claim(self, thing: int, owner: str, seconds: float) -> bool:
        return bool(self.store.claim_faces(owner, seconds, 10, only=[self.jobs[thing]]))

    def release(self, thing: int, owner: str) -> None:
        self.store.release_faces(owner)

    def holders(self) -> list[str | None]:
        with self.store.database.reading() as connection:
            columns = (JOBS.c.id, JOBS.c.face_owner, JOBS.c.face_until)
            rows = connection.execute(select(*columns).where(JOBS.c.id.in_(self.jobs)))
            # Who has given it back stays noted, with an end that is long ago.
            found = {job_id: owner if until and until.year > 1970 else None for job_id, owner, until in rows}
        return [found[job_id] for job_id in self.jobs]


class Holding(RuleBasedStateMachine):
    """Several owners, who claim, keep up, give back, and die."""

    def __init__(self, leases: Leases) -> None:
        super().__init__()
        self.leases = leases
        self.now = 0
        #: Thing → who stands there, and until when that counts.
        self.model: dict[int, tuple[str, int]] = {}
        #: Who was told when that it has a thing until when; those who have given it back left out.
        self.told: dict[tuple[int, str], int] = {}

    def may(self, thing: int, owner: str) -> bool:
        holder, until = self.model.get(thing, (owner, 0))
        return holder == owner or until < self.now

    def got(self, thing: int, owner: str, seconds: int) -> None:
        self.model[thing] = owner, self.now + seconds
        self.told[thing, owner] = self.now + seconds

    @rule(thing=things, owner=owners, seconds=lengths)
    def claim(self, thing: int, owner: str, seconds: int) -> None:
        allowed = self.may(thing, owner)
        assert self.leases.claim(thing, owner, seconds) == allowed
        if allowed:
            self.got(thing, owner, seconds)

    @rule(thing=things, seconds=lengths)
    def all_claim_at_once(self, thing: int, seconds: int) -> None:
        allowed = {owner for owner in OWNERS if self.may(thing, owner)}
        with ThreadPoolExecutor(len(OWNERS)) as pool:
            answers = dict(
                zip(OWNERS, pool.map(lambda owner: self.leases.claim(thing, owner, seconds), OWNERS), strict=True)
            )
        winners = [owner for owner, answer in answers.items() if answer]
        assert len(winners) == 1
        assert winners[0] in allowed
        self.got(thing, winners[0], seconds)

    @rule(thing=things, owner=owners)
    def give_back(self, thing: int, owner: str) -> None:
        self.leases.release(thing, owner)
        for about in [thing] if self.leases.one_by_one else THINGS:
            self.told.pop((about, owner), None)
            if about in self.model and self.model[about][0] == owner:
                del self.model[about]

    @rule(seconds=st.sampled_from(STEPS))
    def time_passes(self, seconds: int) -> None:
        passes(self.leases.store, self.leases.table, (self.leases.column,), seconds)
        self.now += seconds

    @invariant()
    def nothing_has_two_holders(self) -> None:
        for thing in THINGS:
            assert len([owner for owner in OWNERS if self.told.get((thing, owner), -1) > self.now]) <= 1

    @invariant()
    def it_stands_in_the_database(self) -> None:
        assert self.leases.holders() == [self.model.get(thing, (None, 0))[0] for thing in THINGS]


class Checks(RuleBasedStateMachine):
    """Looks that were asked for, and the processes that do them."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        with store.database.writing() as connection:
            connection.execute(delete(CHECKS))
        self.job = store.insert(draft()).id
        with store.database.reading() as connection:
            self.start = store.database.now(connection)
        self.now = 0
        #: Check → when it is due, and until when it is somebody's.
        self.model: dict[int, tuple[int, int | None]] = {}
        #: Checks that somebody was given and did not finish.
        self.given: dict[int, int] = {}

    def free(self) -> list[int]:
        """Those that may be claimed, those that have waited longest first."""
        due = [
            (due, check)
            for check, (due, until) in self.model.items()
            if due < self.now and (until is None or until < self.now)
        ]
        return [check for _, check in sorted(due)]

    def moment(self, due: int) -> Any:
        """A moment by the database's clock, which was moved along."""
        return self.start + timedelta(seconds=due - self.now)

    @rule(after=st.sampled_from([-1500, -500, 500, 1500]))
    def ask(self, after: int) -> None:
        due = self.now + after
        self.store.add_check(self.job, self.moment(due))
        with self.store.database.reading() as connection:
            ids = set(connection.execute(select(CHECKS.c.id)).scalars())
        new = ids - self.model.keys()
        waiting = any(known == due and until is None for known, until in self.model.values())
        assert len(new) == (0 if waiting else 1)  # one that waits for that moment already is enough
        self.model.update({check: (due, None) for check in new})

    @rule(owner=owners, seconds=lengths)
    def claim(self, owner: str, seconds: int) -> None:
        free = self.free()
        found = self.store.claim_check(owner, seconds)
        if not free:
            assert found is None
            return
        assert found is not None
        # Which of those that are due at the same moment does not matter.
        assert found[1] == self.job
        assert found[0] in free
        assert self.model[found[0]][0] == self.model[free[0]][0]
        self.model[found[0]] = self.model[found[0]][0], self.now + seconds
        self.given[found[0]] = self.now + seconds

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        check = data.draw(st.sampled_from(sorted(self.given)))
        self.store.check_done(check)
        del self.given[check], self.model[check]

    @precondition(lambda self: self.given)
    @rule(data=st.data(), after=st.sampled_from([-500, 500, 1500]))
    def put_off(self, data: st.DataObject, after: int) -> None:
        check = data.draw(st.sampled_from(sorted(self.given)))
        self.store.retry_check(check, self.moment(self.now + after))
        del self.given[check]
        self.model[check] = self.now + after, None

    @rule(seconds=st.sampled_from(STEPS))
    def time_passes(self, seconds: int) -> None:
        passes(self.store, CHECKS, ("due", "until"), seconds)
        self.now += seconds

    @invariant()
    def the_next_one_is_known(self) -> None:
        expected = min((max(due, until or due) for due, until in self.model.values()), default=None)
        found = self.store.next_check()
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert abs((found - self.moment(expected)).total_seconds()) < 400


def holds(make: Any) -> None:
    """Runs the machine that ``make`` makes."""
    run_state_machine_as_test(make, settings=QUICK)


def test_a_lease_has_one_holder(store: Store) -> None:
    holds(lambda: Holding(Leases(store)))


def test_results_have_one_processor(store: Store) -> None:
    holds(lambda: Holding(Results(store)))


def test_a_face_is_shown_by_one(store: Store) -> None:
    holds(lambda: Holding(Faces(store)))


def test_a_check_is_done_by_one(store: Store) -> None:
    holds(lambda: Checks(store))
