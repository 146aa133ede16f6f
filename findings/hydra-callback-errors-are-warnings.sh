#!/usr/bin/env bash
# An error in a callback at the start of a sweep does not end the sweep.
#
# Guess: what a callback of Hydra raises in `on_multirun_start` ends the command before the first job, with exit code 1, as an
# error in the function does. A callback can so refuse a sweep: no license, no room, no lock.
#
# Seen on 2026-11-30 with hydra-core 1.3.8, OmegaConf 2.3.1, Python 3.11.7: the error becomes a UserWarning, every job runs, and
# the exit code is 0. `SystemExit` ends it, since only `Exception` is caught (`hydra/_internal/callbacks.py`).
# The script prints:
#   still so: hydra-core 1.3.8: a callback that raises in on_multirun_start: exit 0, 2 of 2 jobs run, a UserWarning; with SystemExit: exit 1, 0 jobs
#
# What helps: raise SystemExit in a callback that must be heard.
set -euo pipefail
pins=(hydra-core==1.3.8 omegaconf==2.3.1)
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

cat >app.py <<'PYTHON'
import os

import hydra
from hydra.experimental.callback import Callback


class Refuses(Callback):
    def on_multirun_start(self, config, **kwargs):
        raise {"error": RuntimeError, "exit": SystemExit}[os.environ["KIND"]]("no room for a sweep here")


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(config):
    print("job", config.number)


if __name__ == "__main__":
    main()
PYTHON
cat >config.yaml <<'YAML'
number: 0
hydra:
  callbacks:
    refuses:
      _target_: app.Refuses
  output_subdir: null
  sweep: {dir: sweep}
YAML
version="hydra-core $(env/bin/python -c 'import hydra; print(hydra.__version__)')"
quiet=(hydra/job_logging=none hydra/hydra_logging=none)
told() {
	local code=0
	KIND=$1 PYTHONPATH=. env/bin/python app.py -m number=1,2 "${quiet[@]}" >out 2>err || code=$?
	echo "exit $code, $(grep -c '^job' out || true) jobs, $(grep -c 'UserWarning: Callback Refuses.on_multirun_start raised' err || true) warning"
}
error=$(told error)
left=$(told exit)
if [ "$error" != "exit 0, 2 jobs, 1 warning" ] || [ "$left" != "exit 1, 0 jobs, 0 warning" ]; then
	echo "no longer so: $version: an error in on_multirun_start: $error; SystemExit: $left" >&2
	exit 1
fi
echo "still so: $version: a callback that raises in on_multirun_start: exit 0, 2 of 2 jobs run, a UserWarning; with SystemExit: exit 1, 0 jobs"
