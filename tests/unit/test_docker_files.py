"""The tar stream that goes into a container before it starts."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import re
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import ImageUnsuitable, InvalidInput
from dev_postgres_mcp.instances.init_files import find_init_files
from dev_postgres_mcp.model import InitFile
from dev_postgres_mcp.runtimes.docker.files import (
    MAX_READ_BYTES,
    PREPARE,
    RECEIVE,
    SWITCH,
    ServerUser,
    load_scripts,
    pack,
    parcel,
    unpack_one,
)
from dev_postgres_mcp.runtimes.docker.launching import find_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOME = "var/lib/dev-postgres-mcp"
INIT = "docker-entrypoint-initdb.d"


def packed(
    init: Path | None = None, files: dict[str, bytes] | None = None
) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with (
        pack(ServerUser(uid=999, gid=998), files or {}, find_init_files(init)) as stream,
        tarfile.open(fileobj=stream) as archive,
    ):
        return {
            member.name: (member, content.read() if (content := archive.extractfile(member)) else b"")
            for member in archive
        }


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(f"-- {name}", encoding="utf-8")
    return path


def test_files_go_in_so_that_only_the_server_reads_them() -> None:
    members = packed(files={"switch.sh": b"#!/bin/sh", "inbox/password": b"s3cret"})
    assert list(members) == [
        f"{HOME}/secret",
        HOME,
        f"{HOME}/inbox",
        f"{HOME}/switch.sh",
        f"{HOME}/inbox/password",
    ]
    for folder_name in (HOME, f"{HOME}/inbox"):
        member, _ = members[folder_name]
        assert (member.isdir(), member.mode) == (True, 0o700)
    for name in (f"{HOME}/switch.sh", f"{HOME}/inbox/password"):
        member, _ = members[name]
        assert (member.isreg(), member.mode) == (True, 0o600)
    for member, _ in members.values():
        assert (member.uid, member.gid, member.uname, member.gname) == (999, 998, "", "")
    assert members[f"{HOME}/inbox/password"][1] == b"s3cret"


def test_a_parcel_ends_with_the_mark_that_it_is_complete() -> None:
    files = parcel("abc", {"record": b"{}", "password": b"s3cret", "lease": b"0 0"})
    boxes = {name.partition("/")[0] for name in files}
    (box,) = boxes
    assert re.fullmatch(r"inbox-abc-[0-9a-f]{8}", box)
    assert [name.partition("/")[2] for name in files] == ["record", "password", "lease", "complete"]
    order = [name for name in packed(files=files) if box in name and name != f"{HOME}/{box}"]
    assert order[-1] == f"{HOME}/{box}/complete", "the engine unpacks in this order"


def test_two_parcels_never_share_a_box() -> None:
    names = {next(iter(parcel("abc", {}))) for _ in range(50)}
    assert len(names) == 50


@pytest.mark.parametrize("path", [SWITCH, PREPARE, RECEIVE])
def test_our_scripts_are_in_the_package(path: str) -> None:
    content = load_scripts()[path.removeprefix(f"/{HOME}/")]
    assert content.startswith(b"#!/bin/sh\n")
    assert b"\r" not in content


def test_one_init_file_goes_where_the_image_looks(tmp_path: Path) -> None:
    folder(tmp_path, "01 ünï.sql")
    member, content = packed(tmp_path / "01 ünï.sql")[f"{INIT}/01 ünï.sql"]
    assert content == "-- 01 ünï.sql".encode()
    assert (member.uid, member.gid, member.mode) == (999, 998, 0o644)


def test_an_init_directory_keeps_its_names_and_folders(tmp_path: Path) -> None:
    folder(tmp_path, "10-schema.sql", "20-data.sql", "data/rows.csv", "README.md")
    (tmp_path / "30.sql.gz").write_bytes(gzip.compress(b"SELECT 1"))
    members = packed(tmp_path)
    names = [name.removeprefix(f"{INIT}/") for name in members if name.startswith(INIT)]
    assert names == ["10-schema.sql", "20-data.sql", "30.sql.gz", "README.md", "data/rows.csv"]
    assert gzip.decompress(members[f"{INIT}/30.sql.gz"][1]) == b"SELECT 1"


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no executable bits there")
@pytest.mark.parametrize(
    "mode, packed_mode", [(0o755, 0o755), (0o700, 0o755), (0o644, 0o644), (0o600, 0o644)]
)
def test_whether_a_script_is_executable_is_kept(tmp_path: Path, mode: int, packed_mode: int) -> None:
    script = folder(tmp_path, "run.sh") / "run.sh"
    script.chmod(mode)
    assert packed(script)[f"{INIT}/run.sh"][0].mode == packed_mode


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: links need a privilege there")
def test_a_link_goes_in_as_what_it_points_to(tmp_path: Path) -> None:
    folder(tmp_path, "real/a.sql")
    directory = folder(tmp_path / "init", "b.sql")
    (directory / "a.sql").symlink_to(tmp_path / "real/a.sql")
    member, content = packed(directory)[f"{INIT}/a.sql"]
    assert member.isreg()
    assert content == b"-- real/a.sql"


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: hard links are kept otherwise there")
def test_two_names_of_one_file_both_go_in_whole(tmp_path: Path) -> None:
    folder(tmp_path, "a.sql")
    os.link(tmp_path / "a.sql", tmp_path / "b.sql")
    members = packed(tmp_path)
    assert members[f"{INIT}/a.sql"][1] == members[f"{INIT}/b.sql"][1] == b"-- a.sql"


def test_no_init_is_no_files() -> None:
    assert find_init_files(None) == ()


@pytest.mark.parametrize("name", ["a.sql", "a.sql.gz", "a.sql.xz", "a.sql.zst", "a.sh"])
def test_what_the_image_runs_is_taken(tmp_path: Path, name: str) -> None:
    folder(tmp_path, name)
    assert find_init_files(tmp_path / name) == (InitFile(path=tmp_path / name, name=name),)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist") as caught:
        find_init_files(tmp_path / "nowhere.sql")
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a.txt", "a.SQL", "sql", "a.gz", "dump.tar"])
def test_a_file_that_the_image_would_ignore_is_refused(tmp_path: Path, name: str) -> None:
    folder(tmp_path, name)
    with pytest.raises(InvalidInput, match="is no init script") as caught:
        find_init_files(tmp_path / name)
    assert ".sql.gz" in caught.value.hint


@pytest.mark.parametrize("names", [(), ("README.md",), ("deeper/a.sql",)])
def test_a_directory_from_which_the_image_would_run_nothing_is_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidInput, match="holds no"):
        find_init_files(folder(tmp_path, *names))


def test_a_large_init_file_arrives_whole(tmp_path: Path) -> None:
    content = os.urandom(9 * 1024**2)
    (tmp_path / "big.sql").write_bytes(content)
    assert packed(tmp_path / "big.sql")[f"{INIT}/big.sql"][1] == content


def sent(members: dict[str, bytes | None], *, kind: bytes = tarfile.REGTYPE, link: str = "x") -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if content is None else kind
            entry.linkname = link if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    whole = buffer.getvalue()
    return [whole[start : start + 700] for start in range(0, len(whole), 700)]


def test_one_file_comes_out_of_an_archive_in_pieces() -> None:
    assert unpack_one(sent({"passwd": b"x" * 5000})) == b"x" * 5000


def test_an_archive_without_a_file_is_empty() -> None:
    assert unpack_one(sent({})) == b""
    assert unpack_one(sent({"folder": None})) == b""


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_what_is_no_regular_file_is_empty(kind: bytes) -> None:
    """Whoever is superuser inside may put anything where our file was."""
    assert unpack_one(sent({"passwd": b""}, kind=kind)) == b""


def test_a_link_is_not_followed_to_another_file_of_the_archive() -> None:
    assert (
        unpack_one(sent({"passwd": b""}, kind=tarfile.LNKTYPE, link="other") + sent({"other": b"x"})) == b""
    )


def test_a_file_is_read_up_to_a_modest_size_and_no_further() -> None:
    assert unpack_one(sent({"passwd": b"x" * 200_000})) == b"x" * 200_000
    assert unpack_one(sent({"passwd": b"x" * MAX_READ_BYTES})) == b""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for chunk in itertools.repeat(b"\0" * 65536):
            taken += len(chunk)
            yield chunk

    assert unpack_one(endless()) == b""
    assert taken < 2 * MAX_READ_BYTES + 65536


@pytest.mark.parametrize("content", [b"", b"x", b"no tar at all" * 100, b"\x1f\x8b" + b"\0" * 600])
def test_what_is_no_archive_is_empty(content: bytes) -> None:
    assert unpack_one([content]) == b""


PASSWD = b"root:x:0:0:root:/root:/bin/sh\npostgres:x:999:998::/var/lib/postgresql:/bin/bash\n"


def test_the_server_runs_as_the_images_own_user() -> None:
    alpine = b"postgres:x:70:70:Linux User,,,:/var/lib/postgresql:/bin/sh"
    assert find_user(PASSWD, "postgres:17") == ServerUser(uid=999, gid=998)
    assert find_user(alpine, "postgres:17-alpine") == ServerUser(uid=70, gid=70)


@pytest.mark.parametrize(
    "passwd",
    [
        b"",
        b"root:x:0:0::/root:/bin/sh",
        b"postgresql:x:1:1::/:/bin/sh",
        b"postgres:x:a:b::/:",
        b"postgres",
        b"\xff\xfe",
    ],
)
def test_an_image_without_that_user_is_unsuitable(passwd: bytes) -> None:
    with pytest.raises(ImageUnsuitable, match="alpine:3 has no user 'postgres'") as caught:
        find_user(passwd, "alpine:3")
    assert "pgvector" in caught.value.hint
