"""What ``--help`` prints, and the configuration file that ``--generate-config`` writes.

Ours, because traitlets' own speak of classes and traits, and list every setting of
JupyterHub's client three times.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
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
    what = "The least severe level that is logged" if name == "log-level" else meaning(trait)
    return f"--{name}={value}", f"{what}{shown}"


def text(app: Application, usage: Iterable[str], others: Sequence[Setting]) -> Iterator[str]:
    """The help of the service or a command; ``others`` are settings without an option."""
    yield from usage
    yield ""
    yield from paragraphs(app.description)
    if app.subcommands:
        yield from textwrap.wrap(app.subcommand_description, 80)
        for name, (_, meaning_of_command) in app.subcommands.items():
            yield from columns(name, meaning_of_command)
        yield ""
    yield "Options"
    for name, (_, meaning_of_flag) in app.flags.items():
        yield from columns(f"--{name}", meaning_of_flag)
    # Those of a command come before those that every command has.
    common = ("Ngshare.", "Application.")
    for name, setting in sorted(app.aliases.items(), key=lambda each: each[1].startswith(common)):
        if name != "f":  # the short one of --config
            yield from columns(*option(name, app.traits()[setting.rpartition(".")[2]]))
    yield from columns("--version", "Print the version")
    yield from columns("--help, --help-all", "Print this; print every setting")
    if others:
        yield ""
        yield "Settings that have no short option"
        yield from of_settings(others)
    if app.examples:
        yield ""
        yield "Examples"
        yield textwrap.indent(inspect.cleandoc(app.examples), "  ")


def columns(left: str, right: str) -> Iterator[str]:
    """One option or command, with what it is for beside or below it."""
    lines = textwrap.wrap(right, 76)
    if len(left) <= 18 and len(lines) == 1 and len(right) <= 58:
        yield f"  {left:<18} {right}"
        return
    yield f"  {left}"
    yield from (f"      {line}" for line in lines)


def paragraphs(description: str) -> Iterator[str]:
    """A text in lines that fit, with an empty line after each paragraph."""
    for paragraph in inspect.cleandoc(description).split("\n\n"):
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
