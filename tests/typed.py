"""The command line for many inputs: one process loads it, and forks for each command, which takes milliseconds instead of a second."""

import json
import subprocess
import sys
from pathlib import Path

from running import Said

PROGRAM = """
import json, os, sys
import postroom.check.preflight, postroom.cli.check, postroom.cli.main, postroom.cli.send, postroom.run
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(asked["folder"])
        for number, path in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        try:
            code = postroom.cli.main.main(asked["words"])
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Typed:
    """Entered, it is called with the folder to stand in and the words of a command; returns what it said."""

    def __init__(self, folder: Path):
        self._out, self._err = folder / "out", folder / "err"

    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def __call__(self, folder: Path, *words: str) -> Said:
        asked = {"folder": str(folder), "words": words, "out": str(self._out), "err": str(self._err)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        said = Said(code, *(path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err)))
        assert "Traceback" not in said.err and "fault of its own" not in said.err, said.err
        return said
