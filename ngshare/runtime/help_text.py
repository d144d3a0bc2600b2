"""Format the output of ``--help``, and the file that ``--generate-config`` writes.

They replace those of traitlets, which use the words of Python classes and list every setting of
JupyterHub's client three times.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from traitlets import Bool, Integer, TraitType, Undefined
from traitlets.config import Application, Configurable

PLACEHOLDERS = {
    "database": "URL",
    "storage": "DIR",
    "admins": "a,b",
    "prefix": "/P/",
    "config": "FILE",
    "jupyterhub_api_url": "URL",
    "log-level": "LEVEL",
}
"""Placeholders of options' values. By default it is N for a number, else the option's name."""

Setting = tuple[str, str, "TraitType[Any, Any]"]
"""A section of the configuration, the name of a setting in it, and its trait."""


def own_settings(cls: type[Configurable], inherited: Iterable[str] = ()) -> Iterator[Setting]:
    """Yield the settings that a class defines itself, and some that it inherits, by name."""
    names = {*cls.class_own_traits(config=True), *inherited}
    for name, trait in cls.class_traits(config=True).items():
        if name in names:
            yield cls.__name__, name, trait


def settings_without_option(app: Application, settings: Iterable[Setting]) -> list[Setting]:
    """Return the settings that no alias or flag of ``app`` sets."""
    with_option = set(app.aliases.values())
    for config, _ in app.flags.values():
        with_option |= {f"{section}.{name}" for section in config for name in config[section]}
    return [each for each in settings if f"{each[0]}.{each[1]}" not in with_option]


def help_lines(
    app: Application, usage: Iterable[str], settings: Sequence[Setting] = ()
) -> Iterator[str]:
    """Yield the help of the service or of a command.

    usage: the first lines.
    settings: settings without an option, to be listed too.
    """
    yield from usage
    yield ""
    yield from _paragraphs(app.description)
    if app.subcommands:
        yield from textwrap.wrap(app.subcommand_description, 80)
        for name, (_, summary) in app.subcommands.items():
            yield from two_columns(name, summary)
        yield ""
    yield "Options"
    for name, (_, summary) in app.flags.items():
        yield from two_columns(f"--{name}", summary)
    # The options of one command precede those of all commands.
    common = ("Ngshare.", "Application.")
    for name, setting in sorted(app.aliases.items(), key=lambda item: item[1].startswith(common)):
        if name != "f":  # short for --config
            yield from _option(name, app.traits()[setting.rpartition(".")[2]])
    yield from two_columns("--version", "Print the version")
    yield from two_columns("--help, --help-all", "Print this; print every setting")
    if settings:
        yield ""
        yield "Settings that have no short option"
        for setting in settings:
            yield from _setting(*setting)
    if app.examples:
        yield ""
        yield "Examples"
        yield textwrap.indent(inspect.cleandoc(app.examples), "  ")


def configuration_file(settings: Iterable[Setting]) -> str:
    """Return the text of a configuration file with every setting and its help as comments."""
    lines = [
        "# Settings of ngshare. Remove the # before a line to change what it says.",
        "# The command line wins over this file; docs/settings.md says more.",
        "",
        "c = get_config()  # noqa: F821",
    ]
    for section, name, trait in settings:
        lines.append("")
        lines += [f"## {line}" for line in textwrap.wrap(_summary(trait), 96)]
        value = _default(trait)
        lines.append(f"# c.{section}.{name} = {'...' if value is None else repr(value)}")
    return "\n".join(lines) + "\n"


def _option(name: str, trait: TraitType[Any, Any]) -> Iterator[str]:
    """Yield the lines of an option."""
    placeholder = PLACEHOLDERS.get(name, "N" if isinstance(trait, Integer) else name.upper())
    is_log_level = name == "log-level"
    default = "INFO" if is_log_level else _default(trait)
    summary = "The least severe level that is logged" if is_log_level else _summary(trait)
    yield from two_columns(f"--{name}={placeholder}", summary + _default_note(default))


def _setting(section: str, name: str, trait: TraitType[Any, Any]) -> Iterator[str]:
    """Yield the lines of a setting that has no option."""
    default = _default(trait)
    if isinstance(trait, Bool):
        placeholder = "True"
    else:
        placeholder = "N" if isinstance(default, int | float) else name.upper()
    yield f"  --{section}.{name}={placeholder}"
    text = _summary(trait) + _default_note(default)
    yield from (f"      {line}" for line in textwrap.wrap(text, 76))


def _default(trait: TraitType[Any, Any]) -> object:
    """Return the default of a setting; None when it is computed at start."""
    value = trait.default()
    return None if value is Undefined else value


def _default_note(default: object) -> str:
    """Return a default in parentheses, to be appended to a summary; empty if there is none."""
    return "" if default in (None, "", []) else f" (default: {default})"


def _summary(trait: TraitType[Any, Any]) -> str:
    """Return the first paragraph of a setting's help on one line; JupyterHub's texts are long."""
    return " ".join(str(trait.help).strip().partition("\n\n")[0].split())


def two_columns(left: str, right: str) -> Iterator[str]:
    """Yield two columns on one line, or, when that is too long, the right one below the left."""
    lines = textwrap.wrap(right, 76)
    if len(left) <= 18 and len(lines) == 1 and len(right) <= 58:
        yield f"  {left:<18} {right}"
        return
    yield f"  {left}"
    yield from (f"      {line}" for line in lines)


def _paragraphs(description: str) -> Iterator[str]:
    """Yield the wrapped lines of a text, with an empty line after each paragraph."""
    for paragraph in inspect.cleandoc(description).split("\n\n"):
        yield from textwrap.wrap(" ".join(paragraph.split()), 80)
        yield ""
