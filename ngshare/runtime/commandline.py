"""Validate the command line and the names of settings before traitlets reads them.

By itself, traitlets only warns of unknown options, rejects an option that is given twice, and
ignores settings that no class has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, NoReturn

from traitlets import List, TraitError
from traitlets.config import Config, Configurable

from ngshare.errors import StartError


class NameList(List[str]):
    """A trait for a list of names, comma-separated on the command line."""

    def from_string_list(self, s_list: list[str]) -> list[str]:
        return [name.strip() for text in s_list for name in text.split(",") if name.strip()]


def normalize_arguments(
    argv: Sequence[str], aliases: Mapping[Any, str], flags: Iterable[Any]
) -> list[str]:
    """Return the arguments with each option once, as ``--name=value``, positional ones last.

    The last value of a repeated option wins, as in ngshare 0.6. Raises StartError for an
    unknown option, and for one without its value.
    """
    names = {setting: name for name, setting in reversed([*aliases.items()])}
    options: dict[str, str] = {}
    positionals: list[str] = []
    rest = iter(argv)
    for argument in rest:
        if argument == "--":
            positionals += [argument, *rest]
        elif argument == "-" or not argument.startswith("-"):
            positionals.append(argument)
        else:
            option, equals, value = argument.partition("=")
            name = option.lstrip("-")
            setting = aliases.get(name, name)
            name = names.get(setting, name)
            if name in flags:
                if equals:
                    reject(f"--{name} takes no value")
                options[name] = f"--{name}"
            elif _is_setting(setting):
                if not equals:
                    value = next(rest, "--")
                    if value.startswith("-") and value != "-":
                        reject(f"--{name} needs a value")
                options[name] = f"--{name}={value}"
            else:
                known = [str(each) for each in (*aliases, *flags)]
                reject(
                    f"{option!r} is not understood",
                    *(f"--{each}" for each in close_match(name, known)),
                )
    return [*options.values(), *positionals]


def _is_setting(text: str) -> bool:
    """Return whether this has the form ``Section.setting``."""
    parts = text.split(".")
    return len(parts) == 2 and all(part.isidentifier() and not iskeyword(part) for part in parts)


def reject(message: str, *suggestions: str) -> NoReturn:
    """Raise StartError with the first suggestion, or a hint at the help when there is none."""
    hint = f"; did you mean {suggestions[0]}?" if suggestions else "; see ngshare --help-all"
    raise StartError(message + hint)


def close_match(word: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Return the known word most similar to ``word`` in a list, empty when none is similar.

    cutoff: the least similarity, from 0 to 1, as of ``difflib``.
    """
    spelled = {each.lower(): each for each in known}
    return [spelled[each] for each in get_close_matches(word.lower(), spelled, 1, cutoff)]


def check_setting_names(
    config: Config,
    classes: Iterable[type[Configurable]],
    more_classes: Callable[[], Iterable[type[Configurable]]],
) -> None:
    """Raise StartError when a section or setting in ``config`` does not exist.

    classes: have settings that the message may suggest.
    more_classes: returns further classes with settings; called only when one is unknown.
    """
    known = _settings_by_section(classes)
    for unknown in _unknown_settings(config, known):
        if unknown not in _unknown_settings(config, _settings_by_section(more_classes())):
            continue
        section, _, name = unknown.rpartition(".")
        if not section and (sections := close_match(name, known, 0.8)):
            suggestions = sections
        elif section in known:
            suggestions = [f"{section}.{each}" for each in close_match(name, known[section])]
        else:
            settings = [f"{each}.{setting}" for each in known for setting in known[each]]
            name = unknown if section else f"{next(iter(known))}.{name}"
            suggestions = close_match(name, settings, 0.8)
        reject(f"there is no setting {unknown}", *suggestions)


def _settings_by_section(classes: Iterable[type[Configurable]]) -> dict[str, set[str]]:
    """Return the settings of each section.

    An inherited setting can stand in the section of the parent class too.
    """
    return {
        each.__name__: set(each.class_trait_names(config=True))
        for cls in classes
        for each in cls.mro()
        if issubclass(each, Configurable)
    }


def _unknown_settings(
    config: Config, known: Mapping[str, set[str]], section: str = ""
) -> Iterator[str]:
    """Yield the settings in ``config`` that are not known, as ``Section.setting``."""
    for key, value in config.items():
        if isinstance(value, Config):
            yield from _unknown_settings(value, known, key)
        elif key not in known.get(section, ()):
            yield f"{section}.{key}" if section else key


def invalid_setting(error: TraitError) -> StartError:
    """Return the StartError for a value that its trait rejected."""
    return StartError(f"wrong setting: {' '.join(str(error).split())}")
