"""Creates that cannot work: each says why in the server's or the engine's own words, and leaves nothing."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import (
    DevPostgresError,
    ImageUnsuitable,
    InitFailed,
    InvalidInput,
    ServerNotReady,
)
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.parsing import new_id
from tests.helpers.stages import DockerStage, build_app, owned
from tests.integration.shell import docker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker


def refuse(stage: DockerStage, kind: type[DevPostgresError], **asked: object) -> DevPostgresError:
    """Create what cannot be created; return the error after a look at what is left."""
    before = {container.id for container in owned(stage, stage.runtime())}
    app = build_app(stage, create_timeout=20)
    with pytest.raises(kind) as caught:
        app.manager.create(build_spec(app.defaults, **asked))  # type: ignore[arg-type]  # as a test asks
    assert {container.id for container in owned(stage, stage.runtime())} == before
    return caught.value


@pytest.mark.parametrize(
    "name, script, words",
    [
        ("bad.sql", "CREATE TABLE t (n int);\nSELECT * FROM nowhere;\n", 'relation "nowhere" does not exist'),
        ("bad.sh", "echo 'about to fail'; psql -U postgres -c 'SELECT 1/0'; exit 7\n", "division by zero"),
    ],
)
def test_an_init_script_that_fails_carries_psqls_message(
    stage: DockerStage, tmp_path: Path, name: str, script: str, words: str
) -> None:
    init = tmp_path / name
    init.write_text(script)
    error = refuse(stage, InitFailed, init=init)
    assert words in error.explain()
    assert name in error.explain()
    assert error.evidence is not None
    assert error.evidence.exit_code not in {None, 0}
    assert "fix the script" in error.hint


def test_an_init_script_in_a_database_of_odd_name_fails_with_its_message(
    stage: DockerStage, tmp_path: Path
) -> None:
    init = tmp_path / "it's bad; $(x).sql"
    init.write_text("SELECT nothing_like_it();\n")
    error = refuse(stage, InitFailed, init=init, database="a=b", username="c'd")
    assert "nothing_like_it() does not exist" in error.explain()


def test_a_failing_init_script_never_shows_the_password(stage: DockerStage, tmp_path: Path) -> None:
    init = tmp_path / "bad.sh"
    init.write_text('cat /var/lib/dev-postgres-mcp/secret/password; echo " $POSTGRES_PASSWORD"; exit 1\n')
    error = refuse(stage, InitFailed, init=init, password=Secret("very-secret-of-mine"))
    assert "very-secret" not in error.explain()
    assert "***" in error.explain()


@pytest.mark.parametrize(
    "setting, value, words",
    [
        ("no_such_setting", "1", "no_such_setting"),
        ("work_mem", "a lot", 'invalid value for parameter "work_mem"'),
        ("shared_preload_libraries", "nothing_like_it", "nothing_like_it"),
        ("shared_buffers", "64GB", "memory"),
        ("max_connections", "0", "max_connections"),
    ],
)
def test_a_setting_that_the_server_refuses_is_told_in_its_words(
    stage: DockerStage, setting: str, value: str, words: str
) -> None:
    error = refuse(stage, ServerNotReady, settings={setting: value})
    assert words in error.explain()
    assert error.evidence is not None
    assert error.evidence.exit_code not in {None, 0}


def test_an_extension_that_the_image_lacks_is_named(stage: DockerStage) -> None:
    error = refuse(stage, InitFailed, extensions=["pg_trgm", "no such extension"])
    assert "no such extension" in error.message
    assert "not available" in error.message


def test_template0_is_refused_at_once(stage: DockerStage) -> None:
    """It exists in every cluster and lets nobody in: waiting for a login would end with the deadline."""
    error = refuse(stage, InvalidInput, database="template0")
    assert "template0" in error.message


@pytest.fixture
def image() -> Iterator[str]:
    """The name of an image that the test makes, and that is removed afterwards."""
    name = f"dev-postgres-mcp-tests/{new_id()}:1"
    yield name
    docker("image", "rm", name)


def import_image(name: str, files: dict[str, str], *changes: str) -> None:
    """Make an image of a few files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    options = [part for change in changes for part in ("--change", change)]
    subprocess.run(
        ["docker", "import", *options, "-", name], input=stream.getvalue(), check=True, capture_output=True
    )


def test_an_image_without_a_postgres_user_is_unsuitable(stage: DockerStage, image: str) -> None:
    import_image(image, {"etc/passwd": "root:x:0:0:root:/:/bin/sh\n"}, 'ENTRYPOINT ["/nothing"]')
    error = refuse(stage, ImageUnsuitable, image=image)
    assert "postgres" in error.message
    assert "postgres:<version>" in error.hint


def test_an_image_without_a_shell_is_unsuitable(stage: DockerStage, image: str) -> None:
    import_image(image, {"etc/passwd": "postgres:x:999:999::/:/bin/sh\n"})
    error = refuse(stage, ImageUnsuitable, image=image)
    assert "/bin/sh: no such file" in error.message


def commit_image(stage: DockerStage, name: str, *changes: str) -> None:
    """Make an image of PostgreSQL's own that starts differently."""
    container = stage.add_foreign()
    options = [part for change in changes for part in ("--change", change)]
    docker("commit", *options, container, name)


def test_an_image_that_ends_by_itself_shows_its_log_and_exit_code(stage: DockerStage, image: str) -> None:
    commit_image(stage, image, 'ENTRYPOINT ["sh", "-c", "echo this is no database; exit 3"]')
    error = refuse(stage, ServerNotReady, image=image)
    assert error.evidence is not None
    assert error.evidence.exit_code == 3
    assert "this is no database" in error.evidence.log_tail
    assert "image" in error.hint


def test_an_image_that_never_serves_is_given_up_within_the_deadline(stage: DockerStage, image: str) -> None:
    commit_image(stage, image, 'ENTRYPOINT ["sh", "-c", "echo sleeping; exec sleep 600"]')
    before = {container.id for container in owned(stage, stage.runtime())}
    app = build_app(stage, create_timeout=6)
    with pytest.raises(ServerNotReady) as caught:
        app.manager.create(build_spec(app.defaults, image=image))
    assert {container.id for container in owned(stage, stage.runtime())} == before
    seconds = re.search(r"within ([\d.]+) s", caught.value.message)
    assert seconds is not None
    assert float(seconds[1]) <= 6
    assert caught.value.evidence is not None
    assert "sleeping" in caught.value.evidence.log_tail
