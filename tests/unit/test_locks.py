"""What looks at a session's locks add up to."""

from __future__ import annotations

from dev_postgres_mcp.rehearsals import LockHeld
from dev_postgres_mcp.sql.locks import Lock, LockBook

READ = Lock("public.users", "table", "AccessShareLock")
WRITE = Lock("public.users", "table", "RowExclusiveLock")
SHARE = Lock("public.users", "table", "ShareLock")
ALL = Lock("public.users", "table", "AccessExclusiveLock")
INDEX = Lock("public.users_pkey", "index", "AccessShareLock")


def test_the_strongest_lock_counts_from_when_it_was_first_seen() -> None:
    book = LockBook()
    book.see([READ], at=1.0, statement=0)
    book.see([READ, ALL], at=2.0, statement=1)
    book.release(at=5.0)
    assert book.held() == (
        LockHeld(
            relation="public.users",
            kind="table",
            mode="AccessExclusiveLock",
            seconds=3.0,
            blocks_reads=True,
            blocks_writes=True,
            statement=1,
        ),
    )


def test_a_lock_that_blocks_writes_lets_reads_through() -> None:
    book = LockBook()
    book.see([SHARE], at=1.0, statement=0)
    (lock,) = book.held()
    assert (lock.blocks_reads, lock.blocks_writes) == (False, True)


def test_a_lock_that_blocks_nobody_is_said_of_tables_not_of_indexes() -> None:
    book = LockBook()
    book.see([WRITE, INDEX], at=1.0, statement=0)
    (lock,) = book.held()
    assert (lock.relation, lock.blocks_reads, lock.blocks_writes) == ("public.users", False, False)


def test_the_longest_hold_counts_when_there_were_several() -> None:
    book = LockBook()
    for start, end in ((0.0, 1.0), (10.0, 14.0), (20.0, 21.0)):
        book.see([ALL], at=start, statement=0)
        book.release(at=end)
    assert book.held()[0].seconds == 4.0


def test_a_lock_that_is_not_seen_again_was_held_until_it_was_last_seen() -> None:
    book = LockBook()
    book.see([ALL], at=1.0, statement=0)
    book.see([ALL], at=3.0, statement=0)
    book.see([], at=9.0, statement=0)
    book.release(at=10.0)
    assert book.held()[0].seconds == 2.0


def test_a_look_that_came_too_late_still_saw_the_lock() -> None:
    book = LockBook()
    book.glimpse([ALL], at=1.0, statement=3)
    book.release(at=10.0)
    (lock,) = book.held()
    assert (lock.mode, lock.seconds, lock.statement) == ("AccessExclusiveLock", 0.0, 3)


def test_a_mark_that_blocks_nobody_ever_is_no_lock() -> None:
    book = LockBook()
    book.see([Lock("public.users", "table", "SIReadLock")], at=1.0, statement=0)
    assert book.held() == ()
