"""Where an engine is looked for: a table of environments and of Docker's own files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.errors import EngineNotFound
from dev_postgres_mcp.runtimes.docker.contexts import Address, DockerEnvironment, Tls, find_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "tcp://from-host:2375"
SETTING = "tcp://from-setting:2375"
COLIMA = "unix:///colima/docker.sock"
DESKTOP = "unix:///desktop/docker.sock"
LOCAL = f"unix://{Path('/var/run/docker.sock')}"


class Configuration:
    """Docker's configuration directory, written as the docker command writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def use(self, context: str) -> None:
        self.write("config.json", json.dumps({"auths": {}, "currentContext": context}))

    def add(self, name: str, endpoint: Mapping[str, Any]) -> None:
        meta = {"Name": name, "Metadata": {"Description": "x"}, "Endpoints": {"docker": endpoint}}
        self.write(self.meta(name), json.dumps(meta))

    def add_tls(self, name: str, *files: str) -> Path:
        folder = f"contexts/tls/{_digest(name)}/docker"
        for file in files:
            self.write(f"{folder}/{file}", "PEM")
        return self.folder / folder

    def meta(self, name: str) -> str:
        return f"contexts/meta/{_digest(name)}/meta.json"

    def write(self, path: str, content: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    configuration = Configuration(tmp_path / ".docker")
    configuration.add("colima", {"Host": COLIMA, "SkipTLSVerify": False})
    configuration.add("desktop-linux", {"Host": DESKTOP, "SkipTLSVerify": False})
    return configuration


@pytest.fixture
def user(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize(
    "said, current, url, source",
    [
        (
            {"docker_host": SETTING, "host": HOST, "context": "colima"},
            "colima",
            SETTING,
            "setting docker_host",
        ),
        ({"host": HOST, "context": "colima"}, "desktop-linux", HOST, "DOCKER_HOST"),
        ({"host": HOST, "context": "no-such-context"}, "", HOST, "DOCKER_HOST"),
        ({"host": HOST}, "colima", HOST, "DOCKER_HOST"),
        ({"context": "colima"}, "desktop-linux", COLIMA, "context colima"),
        ({"context": "colima"}, "", COLIMA, "context colima"),
        ({}, "desktop-linux", DESKTOP, "context desktop-linux"),
        ({}, "colima", COLIMA, "context colima"),
        ({}, "", LOCAL, "default socket"),
        ({}, "default", LOCAL, "default socket"),
        ({"context": "default"}, "colima", LOCAL, "default socket"),
    ],
)
def test_who_names_an_engine_first_is_heard(
    user: Path, configuration: Configuration, said: dict[str, str], current: str, url: str, source: str
) -> None:
    if current:
        configuration.use(current)
    address = find_addresses(DockerEnvironment(home=user, **said))[0]  # type: ignore[arg-type]  # texts only
    assert (address.url, address.source) == (url, source)
    assert str(address) == f"{url} ({source})"


def test_a_named_engine_is_the_only_place_to_look(user: Path, configuration: Configuration) -> None:
    configuration.use("colima")
    assert len(find_addresses(DockerEnvironment(home=user))) == 1
    assert len(find_addresses(DockerEnvironment(home=user, host=HOST))) == 1
    assert len(find_addresses(DockerEnvironment(home=user, docker_host=SETTING))) == 1


def test_an_address_remembers_its_context(user: Path, configuration: Configuration) -> None:
    (address,) = find_addresses(DockerEnvironment(home=user, context="colima"))
    assert address.context == "colima"
    assert find_addresses(DockerEnvironment(home=user, context="default"))[0].context == ""


def test_another_configuration_directory_is_read_instead(user: Path, configuration: Configuration) -> None:
    configuration.use("colima")
    elsewhere = Configuration(user / "elsewhere")
    elsewhere.add("work", {"Host": "ssh://me@work", "SkipTLSVerify": False})
    elsewhere.use("work")
    (address,) = find_addresses(DockerEnvironment(home=user, config_dir=elsewhere.folder))
    assert address.url == "ssh://me@work"


@pytest.mark.parametrize(
    "said, current, source",
    [({"context": "gone"}, "", "DOCKER_CONTEXT"), ({}, "gone", "currentContext of")],
)
def test_an_unknown_context_is_an_error_and_never_the_local_engine(
    user: Path, configuration: Configuration, said: dict[str, str], current: str, source: str
) -> None:
    if current:
        configuration.use(current)
    with pytest.raises(EngineNotFound, match=r"'gone'.*does not exist") as caught:
        find_addresses(DockerEnvironment(home=user, **said))  # type: ignore[arg-type]  # texts only
    assert source in caught.value.message
    assert "meta.json" in caught.value.message
    assert "docker context ls" in caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "not json", "\x00"])
def test_a_corrupt_config_json_is_named(user: Path, configuration: Configuration, content: str) -> None:
    configuration.write("config.json", content)
    with pytest.raises(EngineNotFound, match=r"config\.json cannot be read") as caught:
        find_addresses(DockerEnvironment(home=user))
    assert caught.value.hint


def test_a_config_json_that_is_no_text_is_named(user: Path, configuration: Configuration) -> None:
    (configuration.folder / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EngineNotFound, match=r"config\.json cannot be read"):
        find_addresses(DockerEnvironment(home=user))


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "7", "{}", '{"currentContext": ""}', '{"currentContext": null}', '{"currentContext": 7}'],
)
def test_a_config_json_without_a_context_means_the_default_one(
    user: Path, configuration: Configuration, content: str
) -> None:
    configuration.write("config.json", content)
    assert find_addresses(DockerEnvironment(home=user))[0].source == "default socket"


def test_a_corrupt_config_json_does_not_matter_when_the_engine_is_named(
    user: Path, configuration: Configuration
) -> None:
    configuration.write("config.json", "{")
    assert find_addresses(DockerEnvironment(home=user, host=HOST))[0].url == HOST
    assert find_addresses(DockerEnvironment(home=user, context="colima"))[0].url == COLIMA


@pytest.mark.parametrize("content", ["", "{", "not json"])
def test_a_corrupt_context_is_named(user: Path, configuration: Configuration, content: str) -> None:
    configuration.write(configuration.meta("broken"), content)
    with pytest.raises(EngineNotFound, match=r"meta\.json cannot be read"):
        find_addresses(DockerEnvironment(home=user, context="broken"))


@pytest.mark.parametrize(
    "meta",
    [
        [],
        None,
        {},
        {"Endpoints": None},
        {"Endpoints": []},
        {"Endpoints": {}},
        {"Endpoints": {"kubernetes": {"Host": "https://k8s"}}},
        {"Endpoints": {"docker": None}},
        {"Endpoints": {"docker": {}}},
        {"Endpoints": {"docker": {"Host": ""}}},
        {"Endpoints": {"docker": {"Host": 7}}},
    ],
)
def test_a_context_without_an_engine_is_an_error(
    user: Path, configuration: Configuration, meta: object
) -> None:
    configuration.write(configuration.meta("empty"), json.dumps(meta))
    with pytest.raises(EngineNotFound, match=r"'empty'.*names no engine") as caught:
        find_addresses(DockerEnvironment(home=user, context="empty"))
    assert "docker context update" in caught.value.hint


@pytest.mark.parametrize("skip, verify", [(False, True), (True, False)])
def test_a_context_brings_its_certificates(
    user: Path, configuration: Configuration, skip: bool, verify: bool
) -> None:
    configuration.add("work", {"Host": "tcp://work:2376", "SkipTLSVerify": skip})
    files = configuration.add_tls("work", "ca.pem", "cert.pem", "key.pem")
    (address,) = find_addresses(DockerEnvironment(home=user, context="work"))
    assert address.tls == Tls(
        ca=files / "ca.pem", cert=files / "cert.pem", key=files / "key.pem", verify=verify
    )


def test_a_context_may_bring_an_authority_only(user: Path, configuration: Configuration) -> None:
    configuration.add("work", {"Host": "tcp://work:2376"})
    files = configuration.add_tls("work", "ca.pem")
    (address,) = find_addresses(DockerEnvironment(home=user, context="work"))
    assert address.tls == Tls(ca=files / "ca.pem", cert=None, key=None, verify=True)


def test_a_context_without_certificates_speaks_plainly(user: Path, configuration: Configuration) -> None:
    (address,) = find_addresses(DockerEnvironment(home=user, context="colima"))
    assert address.tls is None


def test_docker_host_speaks_tls_when_the_environment_says_so(user: Path) -> None:
    certificates = user / "certificates"
    certificates.mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (certificates / name).touch()

    def tls(**said: Any) -> Tls | None:
        return find_addresses(DockerEnvironment(home=user, host=HOST, **said))[0].tls

    whole = Tls(
        ca=certificates / "ca.pem", cert=certificates / "cert.pem", key=certificates / "key.pem", verify=True
    )
    assert tls() is None
    assert tls(tls_verify=True, cert_path=certificates) == whole
    assert tls(cert_path=certificates) is None, "as the docker command: certificates alone turn nothing on"
    assert tls(tls_verify=True) == Tls(ca=None, cert=None, key=None, verify=True)
    assert tls(tls_verify=True, config_dir=certificates) == whole


def test_the_setting_docker_host_honours_dockers_own_tls_variables(user: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (user / name).touch()

    def tls(**said: Any) -> Tls | None:
        return find_addresses(DockerEnvironment(home=user, docker_host=SETTING, **said))[0].tls

    whole = Tls(ca=user / "ca.pem", cert=user / "cert.pem", key=user / "key.pem", verify=True)
    assert tls() is None
    assert tls(cert_path=user) is None
    assert tls(tls_verify=True, cert_path=user) == whole


def test_an_address_shows_no_password() -> None:
    shown = str(Address(url="tcp://me:hunter2@engine:2376", source="DOCKER_HOST"))
    assert shown == "tcp://me:***@engine:2376 (DOCKER_HOST)"


def test_an_unnamed_engine_is_looked_for_where_they_live(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    found = find_addresses(DockerEnvironment(home=home, runtime_dir=run))
    assert [(address.source, address.socket) for address in found] == [
        ("default socket", Path("/var/run/docker.sock")),
        ("rootless Docker", run / "docker.sock"),
        ("Docker Desktop", home / ".docker/run/docker.sock"),
        ("Docker Desktop", home / ".docker/desktop/docker.sock"),
        ("colima", home / ".colima/default/docker.sock"),
        ("colima", home / ".config/colima/default/docker.sock"),
        ("OrbStack", home / ".orbstack/run/docker.sock"),
        ("Rancher Desktop", home / ".rd/docker.sock"),
        ("rootless podman", run / "podman/podman.sock"),
        ("podman", Path("/run/podman/podman.sock")),
        ("podman machine", home / ".local/share/containers/podman/machine/podman.sock"),
    ]


def test_without_a_runtime_directory_there_are_no_rootless_sockets(tmp_path: Path) -> None:
    sources = {address.source for address in find_addresses(DockerEnvironment(home=tmp_path))}
    assert not sources & {"rootless Docker", "rootless podman"}
    assert "podman" in sources


def test_on_windows_the_engine_is_a_pipe(tmp_path: Path) -> None:
    (address,) = find_addresses(DockerEnvironment(home=tmp_path, windows=True))
    assert address.url == "npipe:////./pipe/docker_engine"
    assert address.socket is None


def test_only_unix_addresses_are_sockets() -> None:
    assert Address(url="unix:///a/b.sock", source="x").socket == Path("/a/b.sock")
    assert Address(url="tcp://a:1", source="x").socket is None
    assert Address(url="ssh://a", source="x").socket is None
