"""What ``--help`` prints, and the configuration file that ``--generate-config`` writes.

Ours, because traitlets' own speak of classes and traits, and list every setting of
JupyterHub's client three times.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from traitlets import Bool, Integer, TraitType, Undefined
from traitlets.config import Application, Configurable

VALUES = {
    "database": "URL",
    "storage": "DIR",
    "admins": "a,b",
    "prefix": "/P/",
    "config": "FILE",
    "jupyterhub_api_url": "URL",
    "log-level": "LEVEL",
}
"""What an option's value is called; else N for a number, and the option's own name."""

Setting = tuple[str, str, "TraitType[Any, Any]"]
"""A section, the name of a setting in it, and the setting."""


def settings(*classes: type[Configurable], also: Iterable[str] = ()) -> Iterator[Setting]:
    """The settings that these classes add to those they inherit, and some of the latter."""
    for each in classes:
        names = set(each.class_own_traits(config=True)) | set(also)
        for name, trait in each.class_traits(config=True).items():
            if name in names:
                yield each.__name__, name, trait


def default(trait: TraitType[Any, Any]) -> Any:
    """What a setting is when nobody sets it; None when that is found out at start."""
    value = trait.default()
    return None if value is Undefined else value


def meaning(trait: TraitType[Any, Any]) -> str:
    """What a setting is for; of JupyterHub's long texts the first paragraph."""
    return " ".join(str(trait.help).strip().partition("\n\n")[0].split())


def option(name: str, trait: TraitType[Any, Any]) -> tuple[str, str]:
    """An option with its value, and what it is for."""
    value = VALUES.get(name, "N" if isinstance(trait, Integer) else name.upper())
    usual = "INFO" if name == "log-level" else default(trait)
    shown = "" if usual in (None, "", []) else f" (default: {usual})"
    text = "The least severe level that is logged" if name == "log-level" else meaning(trait)
    return f"--{name}={value}", f"{text}{shown}"


def of_service(
    app: Application,
    own: dict[str, TraitType[Any, Any]],
    of_client: Iterable[Setting],
    every: bool,
) -> Iterator[str]:
    """The help of the service, whose own settings these are; ``every``: also those of no option.

    ``of_client`` are those of its client of the Hub.
    """
    yield "ngshare [OPTIONS]          start the service"
    yield "vngshare [OPTIONS]         start it without a Hub, for trying out"
    yield "ngshare COMMAND [OPTIONS]  one of the commands for administrators"
    yield ""
    yield from paragraphs(app.description)
    yield "Commands: safe while the service runs, but for db revert, which refuses then, and"
    yield "db upgrade beside an older ngshare; each has a help of its own"
    for name, (_, text) in app.subcommands.items():
        yield from columns(name, text)
    yield ""
    yield "Options"
    without = dict(own)
    for name, where in app.aliases.items():
        if name != "f":  # the short one of --config
            setting = where.rpartition(".")[2]
            without.pop(setting, None)
            yield from columns(*option(name, app.traits()[setting]))
    for name, (values, text) in app.flags.items():
        without.pop(next(iter(dict(values)["Ngshare"])), None)
        yield from columns(f"--{name}", text)
    yield from columns("--version", "Print the version")
    yield from columns("--help, --help-all", "Print this; print every setting")
    if every:
        yield ""
        yield "Settings that have no short option"
        yield from of_settings(("Ngshare", name, trait) for name, trait in without.items())
        yield from of_settings(of_client)
    yield ""
    yield "Each can stand in ngshare_config.py too; `ngshare --generate-config` writes one."
    yield ""
    yield "Examples"
    yield textwrap.indent(inspect.cleandoc(app.examples), "  ")


def columns(left: str, text: str) -> Iterator[str]:
    """One option or command, with what it is for beside or below it."""
    lines = textwrap.wrap(text, 76)
    if len(left) <= 18 and len(lines) == 1 and len(text) <= 58:
        yield f"  {left:<18} {text}"
        return
    yield f"  {left}"
    yield from (f"      {line}" for line in lines)


def paragraphs(text: str) -> Iterator[str]:
    """A text in lines that fit, with an empty line after each paragraph."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield from textwrap.wrap(" ".join(paragraph.split()), 80)
        yield ""


def of_settings(found: Iterable[Setting]) -> Iterator[str]:
    """What settings are for that have no option of their own."""
    for section, name, trait in found:
        usual = default(trait)
        value = "True" if isinstance(trait, Bool) else "N" if isinstance(usual, int | float) else ""
        shown = "" if usual in (None, "", []) else f" (default: {usual})"
        yield f"  --{section}.{name}={value or name.upper()}"
        yield from (f"      {line}" for line in textwrap.wrap(f"{meaning(trait)}{shown}", 76))


def configuration_file(found: Iterable[Setting]) -> str:
    """A file in which every setting stands as a comment, with what it is for."""
    lines = [
        "# Settings of ngshare. Remove the # before a line to change what it says.",
        "# The command line wins over this file; docs/settings.md says more.",
        "",
        "c = get_config()  # noqa: F821",
    ]
    for section, name, trait in found:
        lines.append("")
        lines += [f"## {line}" for line in textwrap.wrap(meaning(trait), 96)]
        value = default(trait)
        lines.append(f"# c.{section}.{name} = {'...' if value is None else repr(value)}")
    return "\n".join(lines) + "\n"
