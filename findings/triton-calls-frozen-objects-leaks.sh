#!/usr/bin/env bash
# A program that freezes its objects for the garbage collector ends with a page of "leaks".
#
# Guess: `gc.freeze()` after the imports, which Python's documentation advises before a fork, changes nothing that is printed.
#
# Seen on 2026-11-30 with triton 3.9.0 (which PyTorch's wheels for Linux bring), Python 3.11.7: nanobind, by which
# triton is bound, looks at what is left when the interpreter ends. Frozen objects are left out of the last collection, so
# it writes some 40 lines to standard error ("nanobind: leaked 513 functions!", "this is likely caused by a reference
# counting issue in the binding code"), though nothing leaked; the exit code stays 0. Without `freeze`, nothing is written.
# `import torch._dynamo` imports triton, and so do Lightning and every optimizer of PyTorch.
# The script prints:
#   still so: triton 3.9.0: frozen 27 lines of leaks, not frozen 0, let go at exit 0
#
# What helps: `atexit.register(gc.unfreeze)`.
set -euo pipefail
pins=(triton==3.9.0)
if [ $# -gt 0 ]; then pins=("$@"); fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cd "$room"
export TMPDIR="$room"
{
	if command -v uv; then
		uv venv --python python3 env && uv pip install --python env/bin/python "${pins[@]}"
	else
		python3 -m venv env && env/bin/python -m pip install --disable-pip-version-check "${pins[@]}"
	fi
} >install.log 2>&1 || {
	tail -n 5 install.log >&2
	echo "not tried: ${pins[*]} cannot be installed for $(python3 --version)" >&2
	exit 2
}

told() {
	env/bin/python -I -c "import atexit, gc; import triton._C.libtriton; $1" 2>&1 | grep -c "leaked" || true
}
version="triton $(env/bin/python -I -c 'from importlib.metadata import version; print(version("triton"))')"
frozen=$(told "gc.freeze()") plain=$(told "pass") undone=$(told "gc.freeze(); atexit.register(gc.unfreeze)")
if [ "$frozen" -eq 0 ] || [ "$plain" -ne 0 ] || [ "$undone" -ne 0 ]; then
	echo "no longer so: $version: frozen $frozen lines of leaks, not frozen $plain, let go at exit $undone" >&2
	exit 1
fi
echo "still so: $version: frozen $frozen lines of leaks, not frozen $plain, let go at exit $undone"
