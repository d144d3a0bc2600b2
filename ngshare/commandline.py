"""How the command line and settings are read: each mistake is one line, with what was meant.

traitlets by itself goes on without what it does not know, and speaks of traits and
instances where an administrator wrote a flag or a line of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from traitlets import Dict, List, TraitError
from traitlets.config import Config, Configurable
from traitlets.config.loader import (
    ArgumentError,
    DeferredConfigList,
    KVArgParseConfigLoader,
)

from ngshare.startup import StartError

_TROUBLE = re.compile(r"(?:The value of t|T)he '(\w+)' trait of an? (\w+) instance (.+)", re.DOTALL)
_TYPES = {
    "an int": "it must be a whole number",
    "a float": "it must be a number",
    "a boolean": "it must be True or False",
    "a unicode string": "it must be a text",
}


class Names(List[str]):
    """A list of names, which the command line gives with commas between them."""

    def from_string_list(self, s_list: list[str]) -> list[str]:
        return [name.strip() for text in s_list for name in text.split(",") if name.strip()]


class CommandLine(KVArgParseConfigLoader):
    """Reads a command line. Raises StartError for what it does not understand."""

    def _create_parser(self) -> None:
        super()._create_parser()
        self.parser.error = self._refuse  # type: ignore[method-assign]  # argparse would exit with 2

    def load_config(self, *args: Any, **kwargs: Any) -> Config:
        try:
            return super().load_config(*args, **kwargs)
        except ArgumentError as error:
            # Its text goes on with the value, which may hold a password.
            refuse(str(error).partition("=")[0])

    def _exec_config_str(self, lhs: Any, rhs: Any, trait: Any = None) -> None:
        # Of a flag that stands twice the last counts, as it did in ngshare 0.6.
        if isinstance(rhs, DeferredConfigList) and not isinstance(trait, Dict):
            rhs = DeferredConfigList(rhs[-1:])
        super()._exec_config_str(lhs, rhs, trait)

    def _handle_unrecognized_alias(self, arg: str) -> None:
        options = [str(name) for name in (*self.aliases, *self.flags)]
        refuse(f"'--{arg}' is not understood", *(f"--{name}" for name in nearest(arg, options)))

    def _refuse(self, message: str) -> NoReturn:
        # Of an option that it does not know argparse says only that its value is missing.
        found = re.match(r"argument (?:-./)?(?:-+)(\S+): expected one argument", message)
        if found is None:
            refuse(message)
        name = {where: alias for alias, where in reversed(self.aliases.items())}.get(
            found[1], found[1]
        )
        if "." not in name and name not in {*self.aliases, *self.flags}:
            self._handle_unrecognized_alias(name)
        refuse(f"--{name} needs a value")


def refuse(message: str, *meant: str) -> NoReturn:
    """Raise StartError with what was probably meant, or where to look that up."""
    hint = f"; did you mean {meant[0]}?" if meant else "; see ngshare --help-all"
    raise StartError(message + hint)


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> list[str]:
    """Of the known words the one that ``word`` was probably meant to be, if there is one."""
    spelled = {each.lower(): each for each in known}
    return [spelled[each] for each in get_close_matches(word.lower(), spelled, 1, likeness)]


def check_names(
    config: Config,
    classes: Iterable[type[Configurable]],
    others: Callable[[], Iterable[type[Configurable]]],
) -> None:
    """Refuse sections and settings that nothing reads. Raises StartError.

    classes: whose settings may be suggested.
    others: whose settings are known too; called only when one is unknown.
    """
    settings = _settings(classes)
    for unknown in _unknown(config, settings):
        if unknown not in _unknown(config, _settings(others())):
            continue
        section, _, name = unknown.rpartition(".")
        if not section and (sections := nearest(name, settings, 0.8)):
            meant = sections
        elif section in settings:
            meant = [f"{section}.{each}" for each in nearest(name, settings[section])]
        else:
            whole = [f"{each}.{name}" for each in settings for name in settings[each]]
            meant = nearest(unknown if section else f"{next(iter(settings))}.{name}", whole, 0.8)
        refuse(f"there is no setting {unknown}", *meant)


def _settings(classes: Iterable[type[Configurable]]) -> dict[str, set[str]]:
    """The settings of each section. What a class inherits can stand in its parents' sections."""
    return {
        each.__name__: set(each.class_trait_names(config=True))
        for given in classes
        for each in given.mro()
        if issubclass(each, Configurable)
    }


def _unknown(config: Config, known: Mapping[str, set[str]], within: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Config):
            yield from _unknown(value, known, key)
        elif key not in known.get(within, ()):
            yield f"{within}.{key}" if within else key


def in_plain_words(error: TraitError, aliases: Mapping[Any, str]) -> str:
    """What is wrong with a setting, as whoever wrote it would say it."""
    text = " ".join(str(error).split()).rstrip(".")
    found = _TROUBLE.fullmatch(text)
    if not found:
        return text
    name, section, trouble = found.groups()
    options = [key for key, where in aliases.items() if where.rpartition(".")[2] == name]
    setting = f"--{options[0]}" if options else f"{section}.{name}"
    bound = re.fullmatch(
        r"should not be (?:(greater)|less) than (\S+), but a value of (\S+) was specified", trouble
    )
    if bound:
        return f"{setting} is {bound[3]}; at {'most' if bound[1] else 'least'} {bound[2]}"
    kind = re.fullmatch(r"expected (.+), not the \w+ (.+)", trouble)
    if not kind:
        return f"{setting} {trouble}"
    wanted = kind[1].replace("any of [0, 10, 20, 30, 40, 50, ", "one of [")
    return f"{setting} is {kind[2]}; {_TYPES.get(wanted, f'it must be {wanted}')}"
