"""How a command starts and ends sooner: libraries that it does not use are put off, and no garbage is looked for.

Lightning asks torchmetrics for two classes, and torchmetrics (1.9) imports all of its metrics with scipy.signal and
matplotlib for them. PEFT (0.21) imports bitsandbytes wherever it is installed. Both are read when something else of
them is asked for, so nothing behaves otherwise. The interpreter looks for garbage among some 900 000 objects of torch,
Transformers and Lightning when it ends, for 2 s. A process that only imports docvlm is left alone.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any

_LOADED_FIRST = ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "CUDA_INJECTION64_PATH")
"""Variables that name libraries for the loader to read before all others."""


@contextmanager
def libraries() -> Iterator[None]:
    """Imports without garbage collection, which found nothing in a sixth of their time; it never looks there again."""
    defer()
    if not gc.isenabled():  # by whoever called
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # the interpreter ends with a collection, and nanobind calls what it keeps a leak
        gc.enable()


def script(main: Callable[[], object]) -> Callable[[], None]:
    """`main` as a program: when it is done, what asked to be called at the end is called, and the process is over.

    The interpreter's own end would take 2 s more to free what the system frees at once. It is left to that where a
    thread is still at work, where another program called this one (a notebook's `%run`, a profiler, a debugger), and
    where somebody looks on (`_watched`).
    """

    @functools.wraps(main)
    def program() -> None:
        if _called(sys._getframe(1)):
            main()
            return
        status = 0
        try:
            main()
        except SystemExit as ended:
            if not isinstance(ended.code, int):
                raise
            status = ended.code
        at_work = any(not one.daemon for one in threading.enumerate() if one is not threading.main_thread())
        if at_work or _watched():
            raise SystemExit(status)
        atexit._run_exitfuncs()  # as the interpreter does; multiprocessing ends its processes likewise
        try:
            _flush()
        except OSError:  # nobody reads any more: the interpreter has its own words for that
            raise SystemExit(status) from None
        os._exit(status)

    return program


def _called(frame: FrameType) -> bool:
    """Whether a frame is of anything but a file that the interpreter runs, or a module that its `-m` does."""
    above, outer = list[str](), frame.f_back
    while outer is not None:
        above.append(f"{outer.f_globals.get('__name__')}.{outer.f_code.co_name}")
        outer = outer.f_back
    return above not in ([], ["runpy._run_code", "runpy._run_module_as_main"])


def _watched() -> bool:
    """Whether somebody goes on after the program, or has not written down yet what it saw.

    Libraries that are loaded before all others (Nsight Systems, gperftools) write at C's `exit`, which is not called.
    """
    looking = sys.gettrace() is not None or sys.getprofile() is not None or "coverage" in sys.modules
    loaded = any(os.environ.get(name) for name in _LOADED_FIRST)
    return looking or loaded or os.name != "posix" or bool(sys.flags.interactive or sys.flags.inspect)


def _flush() -> None:
    """Write what is still in the streams of Python and of C, which libraries print to. A closed one is None."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def defer() -> None:
    """Put off the libraries above, where they are installed and not imported yet."""
    for name, early in _EARLY.items():
        if name in sys.modules or (spec := importlib.util.find_spec(name)) is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Deferred
        vars(module)["_docvlm_early"] = early
        sys.modules[name] = module


class _Deferred(ModuleType):
    """A package whose `__init__` runs at the first name that is neither the import system's nor to be had early.

    `importlib.util.LazyLoader` would run it at `import`, which asks for `__spec__` (Python 3.11).
    """

    def __getattr__(self, name: str) -> Any:
        early: Mapping[str, Callable[[], Any]] = vars(self)["_docvlm_early"]
        if name in early:
            vars(self)[name] = early[name]()
            return vars(self)[name]
        if name.startswith("__") and name != "__version__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        _run(self)
        return getattr(self, name)


def _run(module: ModuleType) -> None:
    """Import the package after all. Whoever holds the module sees its names."""
    spec: ModuleSpec = vars(module)["__spec__"]
    del vars(module)["_docvlm_early"]
    module.__class__ = ModuleType
    assert spec.loader is not None
    with ExitStack() as undone:
        undone.callback(sys.modules.pop, module.__name__, None)  # where it fails, as `import` does
        spec.loader.exec_module(module)
        undone.pop_all()


def _metric(name: str, home: str) -> Callable[[], Any]:
    def get() -> Any:
        importlib.import_module("torchmetrics.utilities")  # first: it and `metric` import each other
        return getattr(importlib.import_module(home), name)

    return get


_EARLY: dict[str, dict[str, Callable[[], Any]]] = {
    "bitsandbytes": {},
    "torchmetrics": {
        "Metric": _metric("Metric", "torchmetrics.metric"),
        "MetricCollection": _metric("MetricCollection", "torchmetrics.collections"),
        "__version__": lambda: importlib.metadata.version("torchmetrics"),
        "_logger": lambda: logging.getLogger("torchmetrics"),
    },
}
"""What may be had of each without the rest of it, and how."""
