"""Check the command line and the settings; each mistake is one line that says what to do.

traitlets by itself warns of options that it does not know and goes on, refuses one that is
given twice, and ignores settings that nothing reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, NoReturn

from traitlets import List, TraitError
from traitlets.config import Config, Configurable

from ngshare.errors import StartError


class Names(List[str]):
    """A list of names, which the command line gives with commas between them."""

    def from_string_list(self, s_list: list[str]) -> list[str]:
        return [name.strip() for text in s_list for name in text.split(",") if name.strip()]


def normalize_arguments(
    argv: Sequence[str], aliases: Mapping[Any, str], flags: Iterable[Any]
) -> list[str]:
    """Return the arguments with each option once, as ``--name=value``, and the words last.

    Of an option that is given twice the last counts, as in ngshare 0.6.
    Raises StartError for an unknown option, and for one without its value.
    """
    names = {setting: name for name, setting in reversed([*aliases.items()])}
    options: dict[str, str] = {}
    words: list[str] = []
    rest = iter(argv)
    for argument in rest:
        if argument == "--":
            words += [argument, *rest]
        elif argument == "-" or not argument.startswith("-"):
            words.append(argument)
        else:
            written, equals, value = argument.partition("=")
            name = written.lstrip("-")
            setting = aliases.get(name, name)
            name = names.get(setting, name)
            if name in flags:
                if equals:
                    refuse(f"--{name} takes no value")
                options[name] = f"--{name}"
            elif _is_setting(setting):
                if not equals:
                    value = next(rest, "--")
                    if value.startswith("-") and value != "-":
                        refuse(f"--{name} needs a value")
                options[name] = f"--{name}={value}"
            else:
                known = [str(each) for each in (*aliases, *flags)]
                refuse(
                    f"{written!r} is not understood",
                    *(f"--{each}" for each in nearest(name, known)),
                )
    return [*options.values(), *words]


def _is_setting(text: str) -> bool:
    """Return whether this names a section and a setting in it, known or not."""
    parts = text.split(".")
    return len(parts) == 2 and all(part.isidentifier() and not iskeyword(part) for part in parts)


def refuse(message: str, *meant: str) -> NoReturn:
    """Raise StartError with what was probably meant, or where to look that up."""
    hint = f"; did you mean {meant[0]}?" if meant else "; see ngshare --help-all"
    raise StartError(message + hint)


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> list[str]:
    """Of the known words the one that ``word`` was probably meant to be, if there is one."""
    spelled = {each.lower(): each for each in known}
    return [spelled[each] for each in get_close_matches(word.lower(), spelled, 1, likeness)]


def check_setting_names(
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


def invalid_setting(error: TraitError) -> StartError:
    """Return the error that refuses a value that its setting cannot have."""
    return StartError(f"wrong setting: {' '.join(str(error).split())}")
