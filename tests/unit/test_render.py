"""What goes to stdout: columns that are never cut or wrapped by us, and connections only where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.cli.options import InstanceFormat, OutputFormat
from dev_postgres_mcp.cli.render import show_instance, show_list, show_table, show_version
from dev_postgres_mcp.errors import ServerNotReady
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.views.instances import view_instance, view_list
from tests.helpers.stages import build_app

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.runtimes.memory import MemoryWorld
    from tests.helpers.stages import MemoryStage

LONG = "x" * 3000


@pytest.fixture(autouse=True, params=["20", "80"])
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is narrower than what is shown."""
    monkeypatch.setenv("COLUMNS", request.param)


def test_a_cell_is_never_cut_nor_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "B"], [["short", LONG], [LONG, "end"]])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head == "A" + " " * 3001 + "B"
    assert first == "short" + " " * 2997 + LONG
    assert second == f"{LONG}  end"


def test_wide_characters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "B"], [["数据", "1"], ["ab", "2"]])
    assert capsys.readouterr().out.splitlines() == ["A     B", "数据  1", "ab    2"]


def test_a_cell_of_several_lines_keeps_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "B", "C"], [["1", "two\nlines", "3"]])
    assert capsys.readouterr().out.splitlines() == ["A  B      C", "1  two    3", "   lines"]


def test_nothing_is_shown_as_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A", "B"], [])
    assert capsys.readouterr().out == "A  B\n"


def test_what_would_steer_a_terminal_is_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["A"], [["a\x1b[31mb"]])
    assert "\x1b" not in capsys.readouterr().out


def test_a_dsn_is_whole_on_the_narrowest_terminal(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    instance = app.manager.create(build_spec(app.defaults, database="d" * 63, username="u" * 63))
    view = view_instance(instance)
    assert view.dsn is not None
    show_instance(view, instance.conninfo, InstanceFormat.TABLE, quiet=False)
    assert f"dsn           {view.dsn}\n" in capsys.readouterr().out


def test_a_list_shows_each_instance_on_one_line(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    instance = app.manager.create(build_spec(app.defaults, name="n" * 63))
    show_list(view_list(app.manager.list()), OutputFormat.TABLE, quiet=False)
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith(instance.id)
    assert "n" * 63 in line


@pytest.mark.parametrize("form", [InstanceFormat.URL, InstanceFormat.ENV])
def test_a_dead_instance_has_no_url_to_connect_to(
    memory_stage: MemoryStage, world: MemoryWorld, capsys: pytest.CaptureFixture[str], form: InstanceFormat
) -> None:
    """Nothing on stdout, and not exit code 0: a script would go on with an empty variable."""
    manager = build_app(memory_stage).manager
    instance = manager.create(build_spec(build_app(memory_stage).defaults))
    world.kill(instance.container_id)
    dead = manager.get(instance.id)
    with pytest.raises(ServerNotReady, match=f"{instance.id} is exited and cannot be connected to") as caught:
        show_instance(view_instance(dead), dead.conninfo, form, quiet=False)
    assert caught.value.hint
    assert capsys.readouterr().out == ""
    show_instance(view_instance(dead), dead.conninfo, InstanceFormat.JSON, quiet=False)
    assert instance.id in capsys.readouterr().out


def test_a_version_can_be_said_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show_version("1.2.3", OutputFormat.TABLE, quiet=True)
    assert capsys.readouterr().out == "1.2.3\n"
    show_version("1.2.3", OutputFormat.TABLE, quiet=False)
    assert capsys.readouterr().out == "dev-postgres-mcp 1.2.3\n"
