"""Run several actions in one transaction, each of which succeeds or fails by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from ngshare.db.transactions import Action


class Outcome(NamedTuple):
    """The result of an action, or the exception that it raised, which undid its changes."""

    result: Any
    error: Exception | None


def run_together(
    connection: Connection, actions: Sequence[Action[[], Any]]
) -> list[Outcome | None]:
    """Run actions one after the other, each in a savepoint, and return their outcomes in order.

    None stands for an action that violated a constraint, as one that lost a race does: run it again
    in a transaction of its own. Any other error of the database is raised, and fails all of them.
    """
    outcomes: list[Outcome | None] = []
    for action in actions:
        savepoint = connection.begin_nested()
        try:
            outcomes.append(Outcome(action(connection), None))
        except IntegrityError:
            savepoint.rollback()
            outcomes.append(None)
        except DBAPIError:  # SQLite may have rolled back the whole transaction
            raise
        except Exception as error:
            savepoint.rollback()
            outcomes.append(Outcome(None, error))
        else:
            savepoint.commit()
    return outcomes
