"""``ngshare doctor``: check everything between a user's server and the service, step by step."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ngshare.exchange.commands.base import EXIT_FAILED, EXIT_OK, Session, run
from ngshare.exchange.commands.doctor.configuration import check_configuration
from ngshare.exchange.commands.doctor.course_folder import check_course_folders
from ngshare.exchange.commands.doctor.findings import Finding, State
from ngshare.exchange.commands.doctor.installation import check_installation
from ngshare.exchange.commands.doctor.jupyter_server import check_jupyter_server
from ngshare.exchange.commands.doctor.service import check_course_choice, check_service

DESCRIPTION = """\
Check what nbgrader needs to reach ngshare from here: programs, configuration,
address, proxy, token, scope, version, courses, Jupyter server, course folder.

Run it in a terminal of your own server on the Hub, in the folder of your
course if you teach one. Each line says ok, or what is wrong and what to do.
It changes nothing. The exit code is 0 when nothing is wrong, else 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ngshare doctor`` with these arguments, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="ngshare doctor",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    Session.add_options(parser)
    options = parser.parse_args(arguments)
    return run(lambda: _print_findings(Session(options)))


def _print_findings(session: Session) -> int:
    code = EXIT_OK
    for finding in check_all(session):
        print(finding, flush=True)
        if finding.state is State.WRONG:
            code = EXIT_FAILED
    return code


def check_all(session: Session) -> Iterator[Finding]:
    """Yield the findings of all checks. Those that need the service end at its first fault."""
    settings = session.settings
    yield from check_installation()
    yield from check_configuration(settings)
    overview = yield from check_service(session)
    if overview is None:
        yield from check_jupyter_server(teaches=True)
        return
    yield from check_course_choice(settings, overview)
    taught = sorted(course.name for course in overview.courses if course.role == "instructor")
    yield from check_jupyter_server(teaches=bool(taught))
    if taught:
        yield from check_course_folders(settings, taught)
