"""Ask a run about a page in the browser, side by side with the checkpoint it started from.

    docvlm-app --run outputs/2026-01-31_12-00-00-000000
    docvlm-app --run DIR --port 8000 --open
    docvlm-app --run DIR --alone                        the run only: half the memory
    docvlm-app --checkpoint embedded --family qwen2vl   a checkpoint as it comes

The address is local: nobody else reaches it unless --host says so, and there is no password. Uploads lie in a folder
that goes when the server ends (Ctrl-C). Once weights are loaded no other host is asked, by the page or for it. It
needs Gradio: pip install "docvlm[app]". docs/guide/app.md has more.
"""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec

from docvlm import startup
from docvlm.errors import DocvlmError
from docvlm.serving.flags import add_model, check_model
from docvlm.writing import one_line_errors

HOST, PORT, MOST_MB = "127.0.0.1", 7860, 20.0
INSTALL = 'pip install "docvlm[app]", in a clone pip install -e ".[app]"'


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the flags, take the address, load, build the page, serve until Ctrl-C."""
    flags = _flags(argv)
    if find_spec("gradio") is None:
        raise DocvlmError(f"docvlm-app needs Gradio, which is not installed: {INSTALL}")
    with startup.libraries():  # not for --help
        from docvlm.serving.app import server
        from docvlm.serving.app.models import load
        from docvlm.serving.app.samples import MEGABYTE
        from docvlm.serving.app.samples import samples as draw_samples

    with server.listen(flags.host, flags.port) as listener, server.uploads():
        models = load(
            flags.run,
            flags.checkpoint,
            family=flags.family,
            benchmark=flags.benchmark,
            base=flags.base,
            device=flags.device,
            offline=flags.offline,
            alone=flags.alone,
        )
        from docvlm.serving.app import handlers, page

        samples = draw_samples("tiny" if any(one.miniature for one in models) else "full")
        built = page.build(handlers.Desk(models, samples, flags.max_mb, flags.max_new_tokens))
        running = server.server(built, int(flags.max_mb * MEGABYTE))
        where = server.address(listener)
        print(f"{', '.join(one.title for one in models)}: {where} (Ctrl-C ends it)", flush=True)
        if listener.getsockname()[0] not in ("127.0.0.1", "::1"):
            print("whoever reaches this machine can ask: there is no password", file=sys.stderr)
        if flags.open:
            threading.Thread(target=webbrowser.open, args=[where], daemon=True).start()  # one for terminals stays in it
        with suppress(KeyboardInterrupt):  # the way to end it
            running.run(sockets=[listener])


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "docvlm-app", description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model(parser)
    parser.add_argument("--alone", action="store_true", help="do not load the run's base beside it")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1; default the first CUDA device, else cpu")
    parser.add_argument("--host", default=HOST, help=f"address to listen on; default {HOST}: this machine only")
    parser.add_argument("--port", type=_port, default=PORT, metavar="N", help=f"default {PORT}; 0: any free one")
    parser.add_argument("--max-mb", type=_megabytes, default=MOST_MB, metavar="N", help=f"upload; default {MOST_MB:g}")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    flags = parser.parse_args(argv)
    check_model(parser, flags)
    if flags.alone and (flags.run is None or flags.base is not None):
        parser.error("--alone goes with --run, and not with --base")
    return flags


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0 to 65535")
    return int(text)


def _megabytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 10_000:
        raise argparse.ArgumentTypeError(f"{text}: give a number of megabytes, such as 20")
    return number


if __name__ == "__main__":
    main()
