"""What every Hydra verb shares: compose, check, say the scale, run one job or a sweep, and fail in one line.

`@verb("train", TrainConfig)` turns `main(cfg, job)` into a command. Before Hydra makes a folder, the config is composed
once, merged onto the schema and checked, so that a mistyped key leaves nothing behind. In a sweep a cell that fails is
reported when it fails and the other cells go on; the exit code is 1 at the end. A cell that another process is training
is put off until the others are done, and then waited for. Hydra itself would print ten lines for a failure and keep the
traceback, and with it the failed model, in memory until the sweep ends.

Hydra (0.5 s) is imported only to run something: `--help` prints the module's docstring and its yaml at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from docvlm import process, registry
from docvlm.config.base import CONF_DIR, VerbConfig, choices_of
from docvlm.config.data_groups import with_groups
from docvlm.config.job import Job
from docvlm.errors import INTERRUPTED, DocvlmError, TrainedElsewhere
from docvlm.writing import escape_streams, explained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import DictConfig

    from docvlm.config.launched import Outcome

C = TypeVar("C", bound=VerbConfig)
_SWEEP = ("-m", "--multirun")


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What a verb has done at the end of its jobs: see `verb`."""

    after_sweep: Callable[[Path], int | None] | None
    on_failure: Callable[[Job, str], None] | None
    on_put_off: Callable[[Job, Path], None] | None


def verb(
    name: str,
    schema: type[C],
    after_sweep: Callable[[Path], int | None] | None = None,
    on_failure: Callable[[Job, str], None] | None = None,
    on_put_off: Callable[[Job, Path], None] | None = None,
) -> Callable[[Callable[[C, Job], float | None]], Callable[..., None]]:
    """Make a command of `main(cfg, job)`: `conf/<name>.yaml` merged onto `schema`, arguments from `sys.argv`.

    `after_sweep(folder)` is called once at the end of every sweep, also when cells failed or Ctrl-C ended it, in the
    process that launched them, and says how many cells are not finished; `on_failure(job, reason)` for every job that
    failed, however early; `on_put_off(job, folder)` for a cell that another process is training in `folder`.
    """
    hooks = Hooks(after_sweep, on_failure, on_put_off)

    def decorate(main: Callable[[C, Job], float | None]) -> Callable[..., None]:
        @functools.wraps(main)
        def command(argv: Sequence[str] | None = None) -> None:
            escape_streams()
            arguments = list(sys.argv[1:] if argv is None else argv)
            if {"-h", "--help"} & set(arguments):
                print(_help(name, sys.modules[main.__module__].__doc__ or ""))
                return
            arguments = with_groups(name, arguments)
            arguments.sort(key=_SWEEP.__contains__)  # argparse takes no override after a flag: `-m scale=tiny`
            with (
                _one_line_errors(schema),
                _argv(_as_typed(arguments, schema)),
                _callers_logging(),
                _rehearsed(name, schema),
            ):
                _execute(name, schema, main, hooks)

        return command

    return decorate


def _as_typed(arguments: list[str], schema: type[Any]) -> list[str]:
    """The arguments with overrides in quotes where Hydra's grammar would change or refuse their text; flags stay."""
    from docvlm.config import literal

    return _with_overrides(arguments, literal.as_typed(_flags_and_overrides(arguments).overrides, schema))


def _with_overrides(arguments: list[str], overrides: list[str]) -> list[str]:
    """The arguments with these overrides in place of their own; argparse takes none after a flag."""
    own = list(_flags_and_overrides(arguments).overrides)
    flags = [word for word in arguments if not (own and word == own[0] and own.pop(0))]
    return [*overrides, *flags]


def _flags_and_overrides(arguments: list[str]) -> argparse.Namespace:
    """What `hydra.main` makes of a command line. Hydra 1.3 has its parser in no public module."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser().parse_args(arguments)


def _rehearsed(name: str, schema: type[C]) -> AbstractContextManager[None]:
    """Check what the command line says and print its first line. Hydra runs inside of what is returned."""
    from docvlm.config.compose import mode_known, rehearse

    args = _flags_and_overrides(sys.argv[1:])
    if args.cfg or args.info or args.hydra_help or args.shell_completion:
        return nullcontext()
    found = rehearse(name, schema, args.overrides, sweep=args.multirun)
    sys.argv[1:] = _with_overrides(sys.argv[1:], found.overrides)
    if found.line and process.rank() == 0:
        print(found.line, flush=True)
    return mode_known(found.mode)


def _execute(name: str, schema: type[C], main: Callable[[C, Job], float | None], hooks: Hooks) -> None:
    import hydra

    from docvlm.config import beside, compose, marks
    from docvlm.config.launched import Launched, Outcome

    compose.prepare_hydra()
    outcome = Launched.outcome = Outcome()
    beside.use_workers(outcome)

    @functools.wraps(main)
    def task(cfg: DictConfig) -> float | None:
        job = compose.job()
        if job.sweep is not None:
            outcome.sweeps.add(job.sweep)
        with _Reported(job, schema, outcome.failures, hooks.on_failure), marks.begun(job):
            config = compose.typed(cfg, schema)
            registry.load(config.extensions)
            config.check(sweep=job.sweep is not None)
            if job.sweep is not None:
                config.check_cell(*compose.cell_processes())
            try:
                return main(config, job)
            except TrainedElsewhere as elsewhere:
                print(f"{_cell(job)}{elsewhere}; coming back to it at the end", flush=True)
                if hooks.on_put_off is not None:
                    hooks.on_put_off(job, elsewhere.folder)
                outcome.put_off.append((config, job))
        return None

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach us instead of being printed and swallowed
    launch = hydra.main(config_path=str(CONF_DIR), config_name=name, version_base="1.3")(task)
    with Launched.until_the_end:
        unfinished = _to_the_end(launch, schema, main, hooks, outcome)
    if outcome.failures or unfinished:
        raise SystemExit(1)


def _to_the_end(
    launch: Callable[[], object],
    schema: type[C],
    main: Callable[[C, Job], float | None],
    hooks: Hooks,
    outcome: Outcome,
) -> int:
    """Launch the jobs, come back to those that were put off, say the sweeps. Returns how many cells are unfinished."""
    from docvlm.config import marks

    unfinished = 0
    try:
        with _Known(outcome):
            launch()
        if outcome.launcher and outcome.failures:  # Ray's breaks off at a cell that was killed; the others go on
            for folder in outcome.sweeps:
                marks.wait(folder)
        for config, job in outcome.put_off:
            with _Known(outcome), _Reported(job, schema, outcome.failures, hooks.on_failure):
                main(config, dataclasses.replace(job, wait=True))
    finally:
        if hooks.after_sweep is not None:
            unfinished = sum(hooks.after_sweep(folder) or 0 for folder in outcome.sweeps if folder.exists())
    return unfinished


class _Reported(AbstractContextManager[object]):
    """Print what ends a job, at once: a line where the user can mend it, else the traceback. Other cells go on."""

    def __init__(
        self,
        job: Job,
        schema: type[Any],
        failures: list[BaseException],
        on_failure: Callable[[Job, str], None] | None,
    ) -> None:
        self.job, self.schema, self.failures, self.on_failure = job, schema, failures, on_failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):  # nothing, Ctrl-C, or an exit that has been explained
            return
        line = _line(error, self.schema, self.job.folder)
        if line is None:
            traceback.print_exception(error)
        print(f"error: {_cell(self.job)}{line or repr(error)}", file=sys.stderr, flush=True)
        if self.on_failure is not None:
            self.on_failure(self.job, line or repr(error))
        if self.job.sweep is None:
            raise SystemExit(1) from None
        self.failures.append(error)
        traceback.clear_frames(error.__traceback__)  # they hold the model of the failed cell


def _cell(job: Job) -> str:
    return "" if job.number is None else f"cell {job.number} ({' '.join(job.overrides)}): "


@contextmanager
def _callers_logging() -> Iterator[None]:
    """Hydra sets the root logger's handlers. The caller's come back: ours write into a folder that may be gone then."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


class _Known(AbstractContextManager[object]):
    """Swallow an error that has been reported: Hydra raises the first failed cell's again when the sweep is over.

    One of a launcher that trains in other processes is said here, in a line: its cells have left word in their folders.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if any(error is known for known in self.outcome.failures):
            return True
        if not self.outcome.launcher or not isinstance(error, Exception) or _of_config(error):
            return False
        *_, line = ["", *str(error).strip().splitlines()]
        known = isinstance(error, DocvlmError)
        said = line if known else f"{self.outcome.launcher}: {type(error).__name__}: {line}"
        print(f"error: {said}", file=sys.stderr, flush=True)
        self.outcome.failures.append(error)
        return True


def _of_config(error: BaseException) -> bool:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, HydraException | OmegaConfBaseException)


def _line(error: BaseException, schema: type[Any], folder: Path) -> str | None:
    from docvlm.config.explain import explain

    if isinstance(error, DocvlmError):
        return str(error)
    return explain(error, schema) or explained(error, folder)


@contextmanager
def _one_line_errors(schema: type[Any]) -> Iterator[None]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (DocvlmError, HydraException, OmegaConfBaseException, OSError) as error:
        if (line := _line(error, schema, Path.cwd())) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted: the same command continues where this one stopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _argv(arguments: list[str]) -> Iterator[None]:
    """Hydra reads `sys.argv`, and so do the processes that Lightning starts for other devices."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


def _help(name: str, docstring: str) -> str:
    text = (CONF_DIR / f"{name}.yaml").read_text(encoding="utf-8").rstrip()
    groups = {g.name: choices_of(g.name) for g in sorted(CONF_DIR.iterdir()) if g.is_dir()}
    choices = [f"  {g}={'|'.join(c)}" for g, c in groups.items() if f"\n  - {g}: " in text and g != "hydra"]
    return "\n".join(
        [
            docstring.strip(),
            "\nChoices (conf/<word>/<choice>.yaml):",
            *choices,
            f"\nKeys and defaults (conf/{name}.yaml; any of them as key=value):\n",
            text,
            "\n--cfg job shows the composed config, --resolve with its values; -m runs every combination of a=1,2,3.",
        ]
    )
