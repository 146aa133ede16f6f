"""Files that are whole or absent, also where two processes write the same one."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from docvlm.files import read_json, write_json, write_whole


def test_two_writers_of_a_file_do_not_meet(tmp_path: Path) -> None:
    """As cells of a sweep do that begin together: the last one's content stands, and neither fails."""
    file = tmp_path / "costs.json"

    def slow(out: TextIO) -> None:
        out.write('{"written": ')
        write_json(file, {"written": "in the meantime"})
        assert read_json(file) == {"written": "in the meantime"}
        out.write('"last"}')

    write_whole(file, slow)
    assert read_json(file) == {"written": "last"}
    assert list(tmp_path.iterdir()) == [file]
