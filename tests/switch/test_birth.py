"""What a prepared instance is comes over stdin; the superuser gets its password as soon as the server is ready."""

from __future__ import annotations

import subprocess
import time
from signal import SIGTERM, SIGUSR1
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import wait_until
from tests.switch.child import SOON

if TYPE_CHECKING:
    from tests.switch.child import Switch

RECORD = '{"id": "a b", "name": "$(reboot) `x` \\\\n %s"}'
LINES = f"record {RECORD}\nusername me and you\npassword s3 cret%s\\n\nlease 0 77\n"
PSQL = """\
#!/bin/sh
echo "$@" >"$PGDATA/told.new"
cat "$DEV_POSTGRES_MCP_HOME/secret/password" >>"$PGDATA/told.new"
mv "$PGDATA/told.new" "$PGDATA/told"
"""
"""A psql that notes as whom it came, and which password lay there by then."""


@pytest.fixture
def born(switch: Switch) -> Switch:
    """A switch whose prepared server is up; nothing has come over stdin yet."""
    psql = switch.root / "bin" / "psql"
    psql.write_text(PSQL)
    psql.chmod(0o755)
    switch.start(kind="prepared", stdin=subprocess.PIPE)
    wait_until((switch.data / "up").exists, seconds=SOON)
    return switch


def say(switch: Switch, text: str) -> None:
    assert switch.process.stdin is not None
    switch.process.stdin.write(text.encode())
    switch.process.stdin.flush()


def is_heard(switch: Switch) -> bool:
    """Tell whether anybody still has stdin open."""
    try:
        say(switch, "\n")
    except BrokenPipeError:
        return False
    return True


def end_input(switch: Switch) -> None:
    assert switch.process.stdin is not None
    switch.process.stdin.close()


def let_ready(switch: Switch) -> None:
    """Have the server say that it takes logins, as PostgreSQL does."""
    lines = [str(switch.server), str(switch.data), "0", "5432", str(switch.root), "*", "0", "ready"]
    (switch.data / "postmaster.pid").write_text("\n".join(lines) + "\n")


def test_what_is_said_is_taken_in_while_stdin_stays_open(born: Switch) -> None:
    say(born, f"{LINES}complete\n")
    wait_until((born.state / "lease").exists, seconds=SOON)
    let_ready(born)
    wait_until((born.state / "ready").exists, seconds=SOON)
    assert (born.state / "record").read_text() == f"{RECORD}\n"
    assert (born.state / "username").read_text() == "me and you"
    assert (born.state / "lease").read_text() == "0 77\n"
    password = born.secret / "password"
    assert password.read_text() == "s3 cret%s\\n"
    assert password.stat().st_mode & 0o777 == 0o600
    told = (born.data / "told").read_text()
    assert "-U me and you -d postgres" in told
    assert told.endswith("s3 cret%s\\n")


def test_the_lease_that_came_is_acted_on(born: Switch) -> None:
    say(born, LINES.replace("lease 0 77", f"lease {int(time.time()) + 1} 0") + "complete\n")
    assert born.wait_ended() == 0


def test_the_end_of_stdin_is_an_end_too(born: Switch) -> None:
    say(born, LINES)
    end_input(born)
    let_ready(born)
    wait_until((born.state / "ready").exists, seconds=SOON)


def test_what_is_cut_off_is_no_state_and_the_birth_goes_on(born: Switch) -> None:
    say(born, 'record {"id": "a')
    end_input(born)
    let_ready(born)
    assert born.look()
    assert not (born.state / "record").exists()
    assert not (born.data / "told").exists()
    born.deliver({"username": "me", "password": "s3cret"})
    wait_until((born.state / "ready").exists, seconds=SOON)


def test_no_other_file_can_be_named(born: Switch) -> None:
    say(born, "../switch.sh evil\nrecord {}\ncomplete\n")
    wait_until(lambda: not is_heard(born), seconds=SOON)
    assert not (born.home / "switch.sh").exists()
    assert not (born.state / "record").exists()
    assert born.look()


def test_a_parcel_does_it_while_nobody_speaks(born: Switch) -> None:
    """As after a restart of the container by hand, before the password was set."""
    let_ready(born)
    parcel = born.put({"username": "me", "password": "s3cret", "lease": "0 7\n"})
    born.signal(SIGUSR1)
    wait_until((born.state / "ready").exists, seconds=SOON)
    assert not parcel.exists()
    assert (born.data / "told").read_text().endswith("s3cret")


def test_whoever_waits_for_words_keeps_no_stop_off(born: Switch) -> None:
    born.signal(SIGTERM)
    assert born.wait_ended() == 0
    wait_until(lambda: not born.servers(), seconds=SOON)
