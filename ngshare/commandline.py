"""How the command line is read: as ngshare 0.6 read it, with one line for what is wrong."""

from __future__ import annotations

from typing import Any, NoReturn

from traitlets import Dict, List
from traitlets.config import Config
from traitlets.config.loader import ArgumentError, DeferredConfigList, KVArgParseConfigLoader

from ngshare.startup import StartError


class Names(List[str]):
    """A list of names, which the command line gives with commas between them."""

    def from_string_list(self, s_list: list[str]) -> list[str]:
        return [name.strip() for text in s_list for name in text.split(",") if name.strip()]


class CommandLine(KVArgParseConfigLoader):
    """Says in one line what is wrong.

    argparse would print its usage, and traitlets go on without what it does not know.
    """

    def _create_parser(self) -> None:
        super()._create_parser()
        self.parser.error = refuse_command_line  # type: ignore[method-assign]

    def load_config(self, *args: Any, **kwargs: Any) -> Config:
        try:
            return super().load_config(*args, **kwargs)
        except ArgumentError as error:
            # Its text goes on with the value, which may hold a password.
            refuse_command_line(str(error).partition("=")[0])

    def _exec_config_str(self, lhs: Any, rhs: Any, trait: Any = None) -> None:
        # Of a flag that stands twice the last counts, as it did in ngshare 0.6.
        if isinstance(rhs, DeferredConfigList) and not isinstance(trait, Dict):
            rhs = DeferredConfigList(rhs[-1:])
        super()._exec_config_str(lhs, rhs, trait)

    def _handle_unrecognized_alias(self, arg: str) -> None:
        refuse_command_line(f"'--{arg}' is not understood")


def refuse_command_line(message: str) -> NoReturn:
    """Raise StartError with what is wrong, and where to look."""
    raise StartError(f"{message}; see ngshare --help-all")
