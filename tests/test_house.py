"""The house: folder order is import order, the core does no I/O, and the front door opens at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "postroom"
# Ground floor first: a file imports from its own folder and from the lines above it.
ORDER = ["errors", "outcome", "words", "address", "message", "steps", "worker", "meter", "growing", "bounded", "filters", "pages", "read", "compose", "check", "preview", "smtp", "journal", "send", "report", "reconcile", "sandbox", "run", "api", "cli"]
NEIGHBOURS = {"smtp", "journal"}  # they never meet, and know nothing of campaigns
FLOOR_OF_NEIGHBOURS = {"errors", "outcome", "words", "address", "message", "steps"}
WITHOUT_IO = ["compose/mime.py", "smtp/protocol.py", "smtp/reply.py", "smtp/auth.py", "send/rate.py"]
IO = {"socket", "ssl", "threading", "time", "os", "select", "subprocess", "asyncio"}
# A library is imported only where it is named; heavy ones only inside what needs them.
LIBRARIES = {"yaml": {"read/marked_yaml.py"}, "pydantic": {"read/campaign.py"}, "pandas": {"api.py"}, "dotenv": {"read/project.py"},
             "jinja2": {"compose/templates.py", "compose/syntax.py", "filters.py", "growing.py", "bounded.py", "pages.py", "read/where.py", "check/markup.py"}, "turbohtml": {"compose/plaintext.py", "check/links.py"}, "tqdm": {"send/progress.py"},
             "email_validator": {"address.py"}, "aiosmtpd": {"sandbox.py"}, "ssl": {"smtp/session.py", "reconcile/sent_folder.py"}, "imaplib": {"reconcile/sent_folder.py"}, "sqlite3": {"journal/sqlite.py", "check/plan.py"}}
FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if path.name != "__init__.py" and path.name != "__main__.py")


def imports(file):
    for node in ast.walk(ast.parse((SOURCE / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module.startswith("postroom") else [node.module]


def floor(module):
    return module.split(".")[1].removesuffix(".py")


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_from_its_own_folder_and_from_below(file):
    own = file.split("/")[0].removesuffix(".py")
    below = FLOOR_OF_NEIGHBOURS if own in NEIGHBOURS else set(ORDER[:ORDER.index(own)]) - (NEIGHBOURS if own == "preview" else set())

    used = {floor(module) for module in imports(file) if module.startswith("postroom.") and module != "postroom.__version__"}

    assert used <= below | {own}


@pytest.mark.parametrize("file", WITHOUT_IO)
def test_the_core_does_no_io(file):
    assert not {module.split(".")[0] for module in imports(file)} & IO


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_used_in_the_files_that_are_named_for_it(library):
    assert {file for file in FILES if library in {module.split(".")[0] for module in imports(file)}} == LIBRARIES[library]


def test_no_smtplib_and_no_email_package_where_mail_is_made_or_sent():
    for file in FILES:
        used = {module.split(".")[0] for module in imports(file)}
        assert "smtplib" not in used, file
        assert "email" not in used or file in ("pages.py", "check/read_back.py"), file


@pytest.mark.parametrize(("words", "without"), [
    (["--help"], {"pandas", "jinja2", "pydantic", "yaml", "sqlite3", "json", "dataclasses", "pathlib", "ssl"}),
    (["send", "--help"], {"pandas", "jinja2", "pydantic", "yaml", "sqlite3", "ssl"}),
    (["status"], {"pandas", "jinja2", "pydantic", "ssl", "email_validator", "yaml", "dataclasses", "json", "hashlib", "socket", "shutil"})])
def test_what_is_asked_for_at_once_loads_nothing_heavy(words, without, tmp_path):
    program = f"import sys\nfrom postroom.cli.main import main\ntry:\n    main({words})\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"

    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)

    assert done.returncode == 0
    assert not {module.split(".")[0] for module in done.stderr.splitlines()[-1].split()} & without
