"""The command line: ``cordboard COMMAND``. Errors a user can meet end as one line and an exit status.

Exit statuses: 0 done; 1 failed (the line says why and what to do); 2 wrong usage or a wrong
definition; 3 another process has this journal or this Asterisk, do not start again; 4 nothing found.
"""

from __future__ import annotations

import sys

FAILED, USAGE, REPLACED, NOT_FOUND = 1, 2, 3, 4


def _run(words: list[str]) -> object:
    """A plain ``run`` at once, because callers wait for a restart; everything else as commands.py says."""
    from ari_app import starting

    options = starting.plain(words)
    if options is not None:
        return starting.start(options)
    from ari_app.commands import app

    return app(words, result_action="return_value")


def _say(text: str, status: int) -> int:
    print(f"cordboard: {text}", file=sys.stderr)
    return status


def main() -> None:
    """Entry point of the ``cordboard`` command."""
    try:
        status = _run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 0  # the reader (head, less) has seen enough
    except Exception as error:
        status = _explain(error)
    sys.exit(status if isinstance(status, int) else 0)


def _explain(error: BaseException) -> int:
    """One line for each error a user can meet; the traceback of any other, because it is our mistake."""
    if isinstance(error, BaseExceptionGroup):
        return max((_explain(inner) for inner in error.exceptions), default=FAILED)
    from ari_app.problems import DefinitionErrors

    if isinstance(error, DefinitionErrors):
        return _say(str(error), USAGE)
    known = {cls.__name__ for cls in type(error).__mro__}
    if known & {"Replaced", "JournalLocked"}:
        return _say(str(error), REPLACED)
    if known & _USER_ERRORS:
        return _say(str(error), FAILED)
    raise error


_USER_ERRORS = {
    "AmiProblem",
    "AriError",
    "CertificateError",
    "ControlError",
    "DeployError",
    "EngineBroken",
    "JournalError",
    "MigrationError",
    "PinError",
    "RenderError",
    "ReportError",
    "SecretsError",
    "SettingsError",
    "WhyError",
}
"""By name, so that no command pays for importing what only another one can raise."""

if __name__ == "__main__":
    main()
