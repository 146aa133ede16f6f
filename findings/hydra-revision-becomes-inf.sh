#!/usr/bin/env bash
# A git revision given to a text field arrives as the text "inf".
#
# Guess: a field that a structured config declares as `str` gets the characters that were typed. Numbers are recognised only
# where the type leaves it open.
#
# Seen on 2026-11-29 with hydra-core 1.3.8, OmegaConf 2.3.1, Python 3.11.7: the grammar of overrides makes numbers before the
# type is known, and the number is then written out for the field. `revision=7e25814`, a short commit hash, is a float beyond
# all floats and arrives as 'inf'; `folder=2024_10` is an integer with a thousands mark and arrives as '202410', which may be
# another folder that exists. A hash is hit when it is digits with one e among them: of 4 000 random ones of seven characters
# 1.8 % arrived changed, half of these as 'inf'.
# No warning, and the saved config holds the changed text. The script prints:
#   still so: hydra-core 1.3.8: revision=7e25814 folder=2024_10 to two str fields gives 'inf' '202410'; with quotes '7e25814' '2024_10'
#
# What helps: quotes that reach Hydra: 'revision="7e25814"'.
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
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore


@dataclass
class Config:
    revision: str = "main"
    folder: str = "pages"


ConfigStore.instance().store(name="config", node=Config)


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config):
    print(repr(config.revision), repr(config.folder))


main()
PYTHON
quiet=(hydra.run.dir=. hydra.output_subdir=null hydra/job_logging=none hydra/hydra_logging=none)
version="hydra-core $(env/bin/python -c 'import hydra; print(hydra.__version__)')"
bare=$(env/bin/python app.py revision=7e25814 folder=2024_10 "${quiet[@]}")
quoted=$(env/bin/python app.py 'revision="7e25814"' 'folder="2024_10"' "${quiet[@]}")
if [ "$bare" != "'inf' '202410'" ] || [ "$quoted" != "'7e25814' '2024_10'" ]; then
	echo "no longer so: $version: 7e25814 and 2024_10 arrive as $bare, with quotes as $quoted" >&2
	exit 1
fi
echo "still so: $version: revision=7e25814 folder=2024_10 to two str fields gives $bare; with quotes $quoted"
