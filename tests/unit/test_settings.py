"""Where a setting comes from, and what is said when it cannot work."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from platformdirs import user_config_path

from dev_postgres_mcp.errors import InvalidConfiguration
from dev_postgres_mcp.settings import Settings, child_environment, load_settings, read_surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("home")

PREFIX = "DEV_POSTGRES_MCP_"
WORD = "hunter2-nobody-may-see-this"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


def test_without_a_word_the_defaults_are_those_of_the_design() -> None:
    loaded = load_settings()
    settings = loaded.settings
    assert (settings.version, settings.image_repository) == ("17", "postgres")
    assert (settings.database, settings.username, settings.password) == ("postgres", "postgres", None)
    assert (settings.memory, settings.cpus) == (512 * 1024**2, 1.0)
    assert settings.port_range == range(15432, 25433)
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(Settings.model_fields)


def test_every_default_would_be_taken_as_a_value_too() -> None:
    defaults = load_settings().settings
    assert load_settings(defaults.model_dump()).settings == defaults


def test_each_layer_beats_the_ones_below_it(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str, str], Path]
) -> None:
    config = write("c.yaml", "database: yaml\nusername: yaml\nsession: yaml\nversion: 14\ncpus: 4\n")
    env_file = write(
        "e.env", f"{PREFIX}DATABASE=envfile\n{PREFIX}USERNAME=envfile\n{PREFIX}SESSION=envfile\n"
    )
    monkeypatch.setenv(f"{PREFIX}DATABASE", "environment")
    monkeypatch.setenv(f"{PREFIX}USERNAME", "environment")
    loaded = load_settings({"database": "argument", "memory": None}, config=config, env_file=env_file)
    assert loaded.settings.database == "argument"
    assert loaded.settings.username == "environment"
    assert loaded.settings.session == "envfile"
    assert (loaded.settings.version, loaded.settings.cpus) == ("14", 4.0)
    assert {key: loaded.origins[key] for key in ("database", "username", "session", "version", "memory")} == {
        "database": "argument",
        "username": "environment",
        "session": f"env file {env_file}",
        "version": f"file {config}",
        "memory": "default",
    }


def test_files_may_be_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str, str], Path]
) -> None:
    monkeypatch.setenv(f"{PREFIX}CONFIG", str(write("c.yaml", "database: yaml\n")))
    monkeypatch.setenv(f"{PREFIX}ENV_FILE", str(write("e.env", f"{PREFIX}USERNAME=envfile\n")))
    settings = load_settings().settings
    assert (settings.database, settings.username) == ("yaml", "envfile")


def test_a_named_file_beats_the_one_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str, str], Path]
) -> None:
    monkeypatch.setenv(f"{PREFIX}CONFIG", str(write("a.yaml", "database: environment\n")))
    assert load_settings(config=write("b.yaml", "database: argument\n")).settings.database == "argument"


def test_the_users_own_file_is_read_unless_another_is_named(
    home: Path, write: Callable[[str, str], Path]
) -> None:
    folder = user_config_path("dev-postgres-mcp")
    if not folder.is_relative_to(home):
        assert sys.platform == "win32"
        pytest.skip("not on Windows: the configuration directory there follows no variable")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("database: users\n", encoding="utf-8")
    loaded = load_settings()
    assert loaded.settings.database == "users"
    assert loaded.origins["database"] == f"file {folder / 'config.yaml'}"
    assert load_settings(config=write("c.yaml", "username: me\n")).settings.database == "postgres"


def test_a_dotenv_of_the_working_directory_is_not_read_unless_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Callable[[str, str], Path]
) -> None:
    env_file = write(".env", f"{PREFIX}DOCKER_HOST=tcp://somebody-elses:2375\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().settings.docker_host == ""
    assert load_settings(env_file=env_file).settings.docker_host == "tcp://somebody-elses:2375"
    assert load_settings(env_file=Path(".env")).settings.docker_host == "tcp://somebody-elses:2375"


def test_an_env_file_may_hold_what_others_read(write: Callable[[str, str], Path]) -> None:
    env_file = write("e.env", f"# ours\nexport {PREFIX}DATABASE='a $HOME b'\nPGPASSWORD=x\nBARE\n")
    assert load_settings(env_file=env_file).settings.database == "a $HOME b"


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n"])
def test_an_empty_file_changes_nothing(write: Callable[[str, str], Path], content: str) -> None:
    assert set(load_settings(config=write("c.yaml", content)).origins.values()) == {"default"}


@pytest.mark.parametrize(
    "key, hint",
    [("memroy", "did you mean memory?"), ("port", "did you mean ports?"), ("zzz", "config show")],
)
def test_an_unknown_key_in_a_file_is_an_error_with_the_likely_one(
    write: Callable[[str, str], Path], key: str, hint: str
) -> None:
    config = write("c.yaml", f"{key}: 1\n")
    with pytest.raises(InvalidConfiguration, match=f"unknown setting {key} in file") as caught:
        load_settings(config=config)
    assert str(config) in caught.value.message
    assert hint in caught.value.hint


def test_an_unknown_variable_is_an_error_with_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MEMROY", "1g")
    with pytest.raises(
        InvalidConfiguration, match=f"unknown setting {PREFIX}MEMROY in the environment"
    ) as caught:
        load_settings()
    assert caught.value.hint == f"did you mean {PREFIX}MEMORY?"


def test_an_unknown_variable_in_an_env_file_is_an_error(write: Callable[[str, str], Path]) -> None:
    env_file = write("e.env", f"{PREFIX}PORT=1\n")
    with pytest.raises(InvalidConfiguration, match=f"unknown setting {PREFIX}PORT in") as caught:
        load_settings(env_file=env_file)
    assert str(env_file) in caught.value.message
    assert caught.value.hint == f"did you mean {PREFIX}PORTS?"


def test_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(InvalidConfiguration, match="unknown setting colour in argument"):
        load_settings({"colour": "red"})


def test_variables_of_others_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEV_POSTGRES", "x")
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    assert set(load_settings().origins.values()) == {"default"}


@pytest.mark.parametrize("name", ["config", "env_file"])
def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(InvalidConfiguration, match="cannot be read: No such file") as caught:
        load_settings(**{name: missing})  # type: ignore[arg-type]  # one of the two files
    assert str(missing) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("variable", ["CONFIG", "ENV_FILE"])
def test_a_file_named_in_the_environment_that_is_missing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(PREFIX + variable, str(tmp_path / "nowhere"))
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        load_settings()


def test_a_home_of_nobody_in_a_path_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}CONFIG", "~nobody-of-that-name/c.yaml")
    with pytest.raises(InvalidConfiguration, match=r"~nobody-of-that-name/c\.yaml cannot be read"):
        load_settings()


@pytest.mark.parametrize("name", ["config", "env_file"])
def test_a_directory_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        load_settings(**{name: tmp_path})  # type: ignore[arg-type]  # one of the two files


@pytest.mark.parametrize("name", ["config", "env_file"])
def test_a_file_that_is_no_text_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidConfiguration, match="it is not UTF-8 text"):
        load_settings(**{name: tmp_path / "x"})  # type: ignore[arg-type]  # one of the two files


@pytest.mark.parametrize("content", ["a: b: c", "[1", "\t- x: :", "!!python/object:os.system {}", "a: \x07"])
def test_a_file_that_is_no_yaml_is_an_error(write: Callable[[str, str], Path], content: str) -> None:
    with pytest.raises(InvalidConfiguration, match="is no YAML") as caught:
        load_settings(config=write("c.yaml", content))
    assert "key: value" in caught.value.hint


@pytest.mark.parametrize("content", ["[]", "- a\n- b\n", "just text", "7"])
def test_yaml_that_is_no_mapping_is_an_error(write: Callable[[str, str], Path], content: str) -> None:
    with pytest.raises(InvalidConfiguration, match="holds no settings"):
        load_settings(config=write("c.yaml", content))


@pytest.mark.parametrize(
    "key, value, problem",
    [
        ("version", "9", "PostgreSQL version '9' is not offered"),
        ("ports", "25432-15432", "25432-15432 is reversed"),
        ("memory", "1MB", "too little for PostgreSQL"),
        ("memory", "lots", "is not a size"),
        ("memory", "9" * 400, "memory"),
        ("cpus", "0", "greater than or equal to 0.01"),
        ("cpus", "nan", "Input should be"),
        ("max_instances", "0", "greater than or equal to 1"),
        ("create_timeout", "0", "greater than 0"),
        ("create_timeout", "inf", "less than or equal to 86400"),
        ("username", "pg_monitor", "reserved by PostgreSQL"),
        ("database", "x" * 64, "is 64 bytes long"),
        ("database", "", "database name is empty"),
        ("image_repository", "", "at least 1 character"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("log_format", "xml", "'text' or 'json'"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_its_origin(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(PREFIX + key.upper(), value)
    with pytest.raises(InvalidConfiguration) as caught:
        load_settings()
    assert f"{key} (from environment)" in caught.value.message
    assert problem in caught.value.message


def test_several_bad_values_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str, str], Path]
) -> None:
    config = write("c.yaml", "cpus: none\n")
    monkeypatch.setenv(f"{PREFIX}PORTS", "9-1")
    with pytest.raises(InvalidConfiguration) as caught:
        load_settings({"memory": "1m"}, config=config)
    for part in (f"cpus (from file {config})", "ports (from environment)", "memory (from argument)"):
        assert part in caught.value.message


def test_texts_and_numbers_are_read_alike(write: Callable[[str, str], Path]) -> None:
    config = write(
        "c.yaml", "version: 16\nports: 20000-20010\nmemory: 1g\nmax_total_memory: 4294967296\ncpus: '0.5'\n"
    )
    settings = load_settings(config=config).settings
    assert settings.version == "16"
    assert settings.port_range == range(20000, 20011)
    assert (settings.memory, settings.max_total_memory, settings.cpus) == (1024**3, 4 * 1024**3, 0.5)


def test_a_password_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PASSWORD", WORD)
    loaded = load_settings()
    assert loaded.settings.password is not None
    assert loaded.settings.password.get_secret_value() == WORD
    shown = (
        repr(loaded),
        str(loaded.settings),
        loaded.settings.model_dump_json(),
        json.dumps(loaded.shown()),
    )
    for text in shown:
        assert WORD not in text
    assert loaded.shown()["password"] == "***"


@pytest.mark.parametrize(
    "content",
    [
        f'password: "{WORD}\ncpus: 1\n',
        f"password: {WORD}: x\n",
        f"password: *{WORD}\n",
        f"password: !{WORD} x\n",
        f"password: [{WORD}\n",
        f"a: @{WORD}\n",
        f"password: {WORD}\x07\n",
    ],
)
def test_a_line_that_is_no_yaml_is_not_quoted(write: Callable[[str, str], Path], content: str) -> None:
    """It may hold a password."""
    with pytest.raises(InvalidConfiguration, match="is no YAML") as caught:
        load_settings(config=write("c.yaml", content))
    assert WORD not in caught.value.explain()


def test_a_wrong_password_is_not_repeated(write: Callable[[str, str], Path]) -> None:
    config = write("c.yaml", f"password: [{WORD}]\n")
    with pytest.raises(InvalidConfiguration, match="password") as caught:
        load_settings(config=config)
    assert WORD not in caught.value.explain()


def test_a_password_in_an_engines_address_is_struck_out() -> None:
    loaded = load_settings({"docker_host": f"tcp://me:{WORD}@engine:2376"})
    assert loaded.shown()["docker_host"] == "tcp://me:***@engine:2376"


def test_what_is_shown_covers_every_setting() -> None:
    shown = load_settings().shown()
    assert shown.keys() == Settings.model_fields.keys()
    assert (shown["ports"], shown["memory"]) == ("15432-25432", "512 MB")


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_surroundings_are_those_of_this_process(
    monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://x:1")
    monkeypatch.setenv("DOCKER_CONTEXT", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = read_surroundings()
    assert found.docker == {"DOCKER_HOST": "tcp://x:1"}
    assert (found.home, found.runtime_dir, Path(found.cwd)) == (home, tmp_path, Path.cwd())
    assert found.host
    assert found.windows is (sys.platform == "win32")


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux does systemd decide where the sockets are")
def test_without_a_login_session_the_runtime_directory_is_systemds(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        else:
            monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert read_surroundings().runtime_dir == Path(f"/run/user/{os.getuid()}")


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: a directory in use stays there")
def test_a_working_directory_that_is_gone_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_surroundings().cwd == ""
    monkeypatch.chdir(tmp_path)


def test_a_child_gets_our_environment_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("CHANGED", "1")
    variables = child_environment({"CHANGED": "2", "NEW": "3"})
    assert {key: variables[key] for key in ("KEPT", "CHANGED", "NEW")} == {
        "KEPT": "1",
        "CHANGED": "2",
        "NEW": "3",
    }
