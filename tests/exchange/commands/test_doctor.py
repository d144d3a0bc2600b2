"""``ngshare doctor`` finds every mistake that the table in docs/nbgrader.md lists."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from ngshare.exchange.commands import base
from ngshare.exchange.commands.doctor import installation, jupyter_server, main
from tests.exchange.commands.doctor_servers import (
    Answer,
    HubSite,
    http_server,
    hub_site,
    plain_server,
    write_certificate,
)

ROOT = Path(__file__).parents[3]
EXTENSIONS = (*jupyter_server.EXTENSIONS, *jupyter_server.TEACHING_EXTENSIONS)
CONFIG = "from ngshare.exchange import configure_exchange\n\nconfigure_exchange(get_config())\n"
FORMGRADER = (200, {"Content-Security-Policy": "frame-ancestors 'self'; report-uri /x"}, b"")
HEALTHY = (200, {"Content-Type": "application/json"}, b'{"success": true}')

tested: set[str] = set()
"""The mistakes of the table that have a test."""


def finds(mistake: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as that of a mistake in the table."""
    tested.add(mistake)
    return lambda test: test


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    with hub_site(tmp_path_factory.mktemp("hub")) as site:
        yield site


class Place:
    """A user's server in which nothing is wrong, until a test changes something."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder.parent / "physics"  # the course's, below where the server starts
        folder.rename(self.folder)
        monkeypatch.chdir(self.folder)
        self.bin = folder.parent / "bin"
        self.config = folder.parent / "etc" / "nbgrader_config.py"
        self._patch = monkeypatch
        self._capsys = capsys
        self.bin.mkdir()
        for name in installation.PROGRAMS:
            self.add_program(self.bin / name)
        monkeypatch.setattr(base, "RETRY_SECONDS", 0.0)
        monkeypatch.setattr(installation, "program_folders", lambda: [self.bin])
        (self.folder / "source").mkdir()
        self.config.write_text(CONFIG)
        self.enable(dict.fromkeys(EXTENSIONS, True))

    def add_program(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    def enable(self, extensions: dict[str, bool]) -> None:
        file = self.config.with_name("jupyter_server_config.json")
        file.write_text(json.dumps({"ServerApp": {"jpserver_extensions": extensions}}))

    def set(self, **environment: str | None) -> None:
        for name, value in environment.items():
            if value is None:
                self._patch.delenv(name, raising=False)
            else:
                self._patch.setenv(name, value)

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Return the exit code of the doctor, and its lines with single blanks."""
        code = main(arguments)
        printed = self._capsys.readouterr()
        assert printed.err == ""
        return code, [" ".join(line.split()) for line in printed.out.splitlines()]

    def mistakes(self) -> list[str]:
        """Return the lines about mistakes, without ``wrong``; there are some."""
        code, lines = self.run()
        assert code == 1
        return [line.removeprefix("wrong ") for line in lines if line.startswith("wrong ")]

    def mistake(self) -> str:
        """Return the line about the only mistake."""
        [mistake] = self.mistakes()
        return mistake


@pytest.fixture
def place(
    folder: Path,
    hub: HubSite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Place]:
    """ada's server at a Hub, in the folder of the course that she teaches."""
    place = Place(folder, monkeypatch, capsys)
    with http_server(formgrader) as server:
        place.set(
            PATH=str(place.bin),
            NGSHARE_URL=hub.url,
            JUPYTERHUB_API_URL=hub.hub.api_url,
            JUPYTERHUB_API_TOKEN="ada-token",
            JUPYTERHUB_USER="ada",
            JUPYTERHUB_SERVICE_URL=f"{server}/user/ada/",
            JUPYTER_SERVER_ROOT=str(folder.parent),
        )
        yield place


def formgrader(method: str, path: str) -> Answer:
    """Answer as formgrader does, which sends from its address to its first page."""
    if path.endswith("/manage_assignments"):
        return FORMGRADER
    return 302, {"Location": f"{path}/manage_assignments"}, b""


@pytest.fixture
def course(hub: HubSite) -> str:
    """The course ``physics``, taught by ada."""
    import requests

    headers = {"Authorization": "token ada-token"}
    fields = {"instructors": '["ada"]'}
    requests.post(f"{hub.url}/course/physics", fields, headers=headers, timeout=60)
    return "physics"


def test_nothing_is_wrong(place: Place, course: str) -> None:
    code, lines = place.run()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert code == 0
    for check in (
        *("nbgrader", "terminal", "configuration", "plugin", "address", "proxy", "token"),
        *("version", "extensions", "tabs", "courses physics (instructor)", "course folder"),
    ):
        assert any(line.startswith(f"ok {check}") for line in lines), check


def test_a_student_needs_no_course_folder(place: Place, course: str) -> None:
    (place.folder / "source").rmdir()
    place.set(JUPYTERHUB_API_TOKEN="eve-token", JUPYTERHUB_USER="eve")
    code, lines = place.run()
    assert code == 0
    [note] = [line for line in lines if not line.startswith("ok ")]
    assert note.startswith("note courses you are in none under the name eve")


@finds("nbgrader is missing, or of a release that is not supported")
def test_nbgrader(place: Place, course: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for release in ("0.9.4", "0.10.0", "1.0"):
        monkeypatch.setattr(installation, "version", lambda name, release=release: release)
        assert place.mistake().startswith(f"nbgrader version {release} is not supported")

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation, "version", missing)
    assert place.mistake().startswith("nbgrader it is not installed")


def test_supported_releases_are_those_of_setup() -> None:
    [(oldest, too_new)] = re.findall(
        r"nbgrader>=([0-9.]+),<([0-9.]+)", (ROOT / "setup.py").read_text()
    )
    expected = tuple(tuple(map(int, text.split("."))) for text in (oldest, too_new))
    assert expected == installation.NBGRADER_RANGE


@finds("a terminal does not find the programs, because a login shell resets PATH")
def test_path(place: Place, course: str) -> None:
    place.set(PATH="/usr/bin")
    assert "nbgrader is not found, since a login shell resets PATH" in place.mistake()


@finds("a terminal finds the programs of another environment")
def test_programs_of_another_environment(place: Place, course: str) -> None:
    other = place.folder.parent / "other"
    place.add_program(other / "nbgrader")
    place.set(PATH=f"{other}:{place.bin}")
    assert f"nbgrader is {other}/nbgrader, not that of {place.bin}" in place.mistake()
    (place.bin / "ngshare-course-management").unlink()
    place.set(PATH=str(place.bin))
    assert "there is no" in place.mistake()


@finds("there is no nbgrader_config.py")
def test_no_configuration(place: Place, course: str) -> None:
    place.config.unlink()
    configuration, plugin = place.mistakes()
    assert str(place.config.parent) in configuration
    assert "write one" in configuration
    assert plugin.startswith("plugin nbgrader uses its own exchange")


@finds("a configuration file cannot be read")
def test_a_configuration_with_an_error(place: Place, course: str) -> None:
    place.config.write_text(CONFIG + "c.Exchange.url = oops\n")
    assert "NameError" in place.mistakes()[0]
    place.config.write_text("import unknown_plugin\n")
    assert "there is no module unknown_plugin" in place.mistakes()[0]


@finds("nbgrader uses its own exchange, a shared folder")
def test_the_folder_exchange(place: Place, course: str) -> None:
    place.config.write_text("get_config().CourseDirectory.course_id = 'physics'\n")
    assert place.mistake().startswith("plugin nbgrader uses its own exchange, a shared folder")


@finds("the lines of the older plugin are still there")
def test_the_older_plugin(place: Place, course: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place.config.write_text(CONFIG + "import ngshare_exchange\n")
    assert "imports the older plugin ngshare_exchange, which is not installed" in " ".join(
        place.mistakes()
    )
    package = place.folder.parent / "packages"
    package.mkdir()
    (package / "ngshare_exchange.py").write_text(
        "def configureExchange(c):\n    c.ExchangeFactory.list = 'ngshare_exchange.ExchangeList'\n"
    )
    monkeypatch.syspath_prepend(package)
    assert "still has lines of the older plugin" in place.mistake()
    place.config.write_text(
        CONFIG + "import ngshare_exchange\nngshare_exchange.configureExchange(get_config())\n"
    )
    assert place.mistake().startswith("plugin the older plugin ngshare_exchange is configured")
    monkeypatch.delitem(sys.modules, "ngshare_exchange", raising=False)


@finds("some classes of the exchange are not ngshare's")
def test_another_class(place: Place, course: str) -> None:
    place.config.write_text(CONFIG + "c = get_config()\nc.ExchangeFactory.list = 'mine.List'\n")
    assert "classes that are not ngshare's (list)" in place.mistake()


@finds('`course_id = "*"`')
def test_any_course(place: Place, course: str) -> None:
    place.config.write_text(CONFIG + "get_config().CourseDirectory.course_id = '*'\n")
    assert place.mistake().startswith("course_id c.CourseDirectory.course_id = '*' is no course")


@finds("`course_id` names a course that you are not in")
def test_a_course_of_others(place: Place, course: str) -> None:
    place.config.write_text(CONFIG + "get_config().CourseDirectory.course_id = 'maths'\n")
    place.set(JUPYTERHUB_API_TOKEN="eve-token")
    assert "you are in no course of that name" in place.mistake()


@finds("the address is not known: no server of a Hub, and no `NGSHARE_URL`")
def test_no_address(place: Place, course: str) -> None:
    for name in ("NGSHARE_URL", "JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_USER"):
        place.set(**{name: None})
    assert place.mistake().startswith("address ")


@finds("nobody listens at the address")
def test_nobody_listens(place: Place, course: str) -> None:
    place.set(NGSHARE_URL="http://127.0.0.1:9/services/ngshare")
    assert place.mistake().startswith("proxy nobody listens at 127.0.0.1:9")


def answering(answer: Answer, large: Answer | None = None) -> Callable[[str, str], Answer]:
    return lambda method, path: (large or answer) if method == "POST" else answer


@finds("the Hub's base URL is missing in the address, or the Hub has no service of that name")
def test_a_page_of_the_hub(place: Place, course: str) -> None:
    place.set(JUPYTERHUB_BASE_URL="/jh/")
    with http_server(answering((404, {}, b"<html>404 : Not Found</html>"))) as url:
        place.set(NGSHARE_URL=f"{url}/services/ngshare")
        assert "is not ngshare, but a page of the Hub" in place.mistake()
        assert "/jh/services/ngshare" in place.mistake()
    with http_server(answering((302, {"Location": "/hub/services/ngshare"}, b""))) as url:
        place.set(NGSHARE_URL=f"{url}/services/ngshare")
        assert "redirects to /hub/services/ngshare" in place.mistake()


@finds("the address only redirects to HTTPS, as `proxy-public` does with Let's Encrypt")
def test_a_redirection_to_https(place: Place, course: str) -> None:
    with http_server(answering((301, {"Location": "https://x/services/ngshare"}, b""))) as url:
        place.set(NGSHARE_URL=f"{url}/services/ngshare")
        assert "proxy-http:8000" in place.mistake()


@finds("the proxy answers, and ngshare does not run")
def test_a_service_that_is_down(place: Place, course: str) -> None:
    with http_server(answering((503, {}, b"<html>Service Unavailable</html>"))) as url:
        place.set(NGSHARE_URL=f"{url}/services/ngshare")
        assert "the proxy answers and ngshare does not" in place.mistake()


@finds("a proxy in front refuses requests of 1 MB")
def test_a_limit_of_a_proxy(place: Place, course: str) -> None:
    refusal = (413, {"Content-Type": "text/html"}, b"<html>nginx</html>")
    with http_server(answering(HEALTHY, refusal)) as url:
        place.set(NGSHARE_URL=f"{url}/services/ngshare")
        assert "client_max_body_size" in place.mistake()


@finds("the certificate is of an authority that the server does not know")
def test_a_certificate(place: Place, course: str) -> None:
    certificate = place.folder.parent / "certificate.pem"
    write_certificate(certificate)
    with http_server(answering(HEALTHY), certificate) as url:
        place.set(NGSHARE_URL=f"{url}/services/ngshare")
        assert "REQUESTS_CA_BUNDLE" in place.mistake()
        place.set(REQUESTS_CA_BUNDLE=str(certificate))
        assert any(line.startswith("ok proxy") for line in place.run()[1])


@finds("`HTTP_PROXY` leads to a proxy that does not reach the Hub")
def test_a_proxy_of_the_environment(place: Place, course: str) -> None:
    place.set(HTTP_PROXY="http://user:secret@127.0.0.1:9", NO_PROXY=None)
    mistake = place.mistake()
    assert "add 127.0.0.1 to $NO_PROXY" in mistake
    assert "secret" not in mistake
    with http_server(answering((403, {}, b"<html>Squid</html>"))) as url:
        place.set(HTTP_PROXY=url)
        assert "add 127.0.0.1 to $NO_PROXY" in place.mistake()
    place.set(NO_PROXY="127.0.0.1")
    assert place.run()[0] == 0


@finds("HTTPS is asked of a port without it")
def test_https_where_there_is_none(place: Place, course: str) -> None:
    with plain_server() as server:
        place.set(NGSHARE_URL=f"https://{server}/services/ngshare")
        assert "does not speak HTTPS" in place.mistake()


@finds("there is no token: not a terminal of a server of the Hub")
def test_no_token(place: Place, course: str) -> None:
    place.set(JUPYTERHUB_API_TOKEN=None)
    assert "there is no $JUPYTERHUB_API_TOKEN" in place.mistake()
    place.set(JUPYTERHUB_API_URL=None)
    assert "run this in a terminal of your server on the Hub" in place.mistake()


@finds("the Hub does not know the token any more")
def test_a_revoked_token(place: Place, course: str) -> None:
    place.set(JUPYTERHUB_API_TOKEN="revoked")
    assert "restart the server" in place.mistake()


@finds("the token lacks the scope to use ngshare")
def test_a_token_without_the_scope(place: Place, course: str) -> None:
    place.set(JUPYTERHUB_API_TOKEN="no-scope")
    mistake = place.mistake()
    assert mistake.startswith("scope Restart your server")
    assert "access:services!service=ngshare" in mistake


@finds("ngshare does not reach the Hub")
def test_a_hub_that_does_not_answer(place: Place, hub: HubSite, course: str) -> None:
    hub.hub.broken = (500, "oops")
    try:
        place.set(JUPYTERHUB_API_TOKEN="new-token")
        assert place.mistake().startswith("token ngshare answers: The Hub does not answer")
    finally:
        hub.hub.broken = None


@finds("a server extension is not enabled")
def test_extensions(place: Place, course: str) -> None:
    for name in EXTENSIONS:
        place.enable({**dict.fromkeys(EXTENSIONS, True), name: False})
        assert place.mistake().startswith(f"extensions not enabled: {name}; run jupyter server")
    place.enable({"nbgrader": True, "ngshare.exchange.server_extension": True})
    assert place.run()[0] == 0


def test_a_student_needs_no_formgrader(place: Place, course: str) -> None:
    place.enable(
        {**dict.fromkeys(EXTENSIONS, True), "nbgrader.server_extensions.formgrader": False}
    )
    place.set(JUPYTERHUB_API_TOKEN="eve-token", JUPYTERHUB_USER="eve")
    assert place.run()[0] == 0


@finds("the frame policy forbids the Formgrader tab")
def test_the_frame_policy(place: Place, course: str) -> None:
    policy = {"Content-Security-Policy": "report-uri /x; frame-ancestors 'none'"}
    with http_server(answering((200, policy, b""))) as url:
        place.set(JUPYTERHUB_SERVICE_URL=f"{url}/user/ada/")
        assert place.mistake().startswith("tabs the Formgrader tab is blank")


@finds("the running server has no formgrader")
def test_a_server_without_formgrader(place: Place, course: str) -> None:
    with http_server(answering((404, {}, b""))) as url:
        place.set(JUPYTERHUB_SERVICE_URL=f"{url}/user/ada/")
        assert place.mistake().startswith("tabs your server has no formgrader")


@finds("formgrader fails in the running server")
def test_a_formgrader_that_fails(place: Place, course: str) -> None:
    with http_server(answering((500, {}, b""))) as url:
        place.set(JUPYTERHUB_SERVICE_URL=f"{url}/user/ada/")
        assert place.mistake().startswith("tabs formgrader fails in your server (500)")


def test_an_instructor_who_has_yet_to_choose_a_course(place: Place, course: str) -> None:
    def choice(method: str, path: str) -> Answer:
        if path.endswith("/formgrader"):
            return 302, {"Location": "/user/ada/courses-to-choose"}, b""
        return FORMGRADER

    with http_server(choice) as url:
        place.set(JUPYTERHUB_SERVICE_URL=f"{url}/user/ada/")
        code, lines = place.run()
        assert code == 0
        assert any(line.startswith("ok tabs") for line in lines)


def test_tabs_that_cannot_be_checked(place: Place, course: str) -> None:
    login = answering((302, {"Location": "/hub/login"}, b""), None)
    with http_server(lambda m, path: (200, {}, b"") if "login" in path else login(m, path)) as url:
        for address in ("http://127.0.0.1:9/user/ada/", f"{url}/user/ada/", None):
            place.set(JUPYTERHUB_SERVICE_URL=address)
            code, lines = place.run()
            assert code == 0
            assert any(line.startswith("note tabs not checked") for line in lines)


@finds("`c.CourseDirectory.root` names a folder that is not there")
def test_a_course_folder_that_is_not_there(place: Place, course: str) -> None:
    place.config.write_text(CONFIG + "get_config().CourseDirectory.root = '/missing'\n")
    assert place.mistake().startswith("course folder there is no /missing")


@finds("the course folder has no `source/`, and a folder in it has")
def test_a_course_folder_one_level_too_high(place: Place, course: str) -> None:
    (place.folder / "source").rename(place.folder / "class")
    place.folder.joinpath("class", "source").mkdir()
    assert f"physics: {place.folder} has no folder source/" in place.mistake()
    assert f"{place.folder}/class has" in place.mistake()


def test_a_course_without_an_assignment(place: Place, course: str) -> None:
    (place.folder / "source").rmdir()
    assert place.run()[0] == 0
    place.folder.rmdir()
    place.folder.parent.joinpath("elsewhere").mkdir()
    os.chdir(place.folder.parent / "elsewhere")
    code, lines = place.run()
    assert code == 0
    assert any("which formgrader will create" in line for line in lines)
    assert lines[-1].startswith("note course folder nbgrader's commands work on the folder")


@finds("the course folder cannot be written")
def test_a_course_folder_of_others(
    place: Place, course: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != place.folder)
    assert f"you may not write in {place.folder}" in place.mistake()


@finds("the course folder is not below the folder that JupyterLab shows")
def test_a_course_folder_elsewhere(place: Place, course: str) -> None:
    root = str(place.folder)
    place.config.write_text(CONFIG + f"get_config().CourseDirectory.root = {root!r}\n")
    place.set(JUPYTER_SERVER_ROOT=str(place.folder.parent / "home"))
    assert "formgrader works only there" in place.mistake()


def test_the_documents_list_these_mistakes_each_and_no_other() -> None:
    text = (ROOT / "docs" / "nbgrader.md").read_text()
    section = text.partition("\n## When something is wrong\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `[a-z_ ]+` \| ([^|]+?) \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(tested)
