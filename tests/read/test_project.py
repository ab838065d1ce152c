"""The project: its root, .env and ${...}, and which files may be read."""

import os

import pytest

from conftest import CAMPAIGN
from postroom.errors import CampaignError
from postroom.read.project import Project, Unset


def project(folder, name="campaign.yaml"):
    return Project(str(folder.path / name))


def test_the_root_is_the_nearest_folder_with_postroom_yaml(folder):
    folder.write("a/b/c/campaign.yaml", CAMPAIGN)
    folder.write("a/postroom.yaml", "")
    folder.write("postroom.yaml", "# nothing yet\n")

    assert project(folder, "a/b/c/campaign.yaml").root == str(folder.path / "a")


def test_without_postroom_yaml_the_root_is_the_campaigns_folder(folder):
    folder.write("a/campaign.yaml", CAMPAIGN)

    assert project(folder, "a/campaign.yaml").root == str(folder.path / "a")


def test_a_root_that_moved_up_does_not_forget_the_journal(folder):
    folder.write("a/campaign.yaml", CAMPAIGN)
    folder.write("a/.postroom/journal.sqlite3", "")
    folder.write("postroom.yaml", "")

    with pytest.raises(CampaignError, match="would be forgotten"):
        project(folder, "a/campaign.yaml")


@pytest.mark.parametrize(("text", "value"), [("${A}", "1"), ("x${A}y${A}", "x1y1"), ("${B:-c}", "c"), ("${A:-c}", "1"), ("${A:?no}", "1"), ("${E:-c}", "c"), ("${E}", ""),
                                             ("$$", "$"), ("$${A}", "${A}"), ("$A", "$A"), ("pa$$word", "pa$word"), ("5$", "5$"), ("${D}", "${A}"), ("${B:-}", "")])
def test_variables_are_replaced_once_as_compose_files_have_it(folder, monkeypatch, text, value):
    for name, content in {"A": "1", "E": "", "D": "${A}"}.items():
        monkeypatch.setenv(name, content)
    monkeypatch.delenv("B", raising=False)

    assert project(folder).interpolated(text) == value


@pytest.mark.parametrize(("text", "words"), [("${B}", "the environment variable B is not set"), ("${B:?set the password}", "B is not set: set the password"),
                                             ("${E:?no}", "E is not set: no"), ("${1A}", "begins no variable"), ("${A", "begins no variable"), ("${A:+x}", "begins no variable")])
def test_a_missing_or_broken_variable_is_named(folder, monkeypatch, text, words):
    monkeypatch.delenv("B", raising=False)
    monkeypatch.setenv("E", "")

    with pytest.raises(Unset, match=words.replace("$", r"\$")):
        project(folder).interpolated(text)


def test_the_real_environment_wins_over_dotenv(folder, monkeypatch):
    monkeypatch.setenv("A", "real")
    monkeypatch.delenv("B", raising=False)
    folder.write(".env", "A=file\nB='from file'\n")

    assert project(folder).interpolated("${A} ${B}") == "real from file"
    assert "B" not in os.environ


def outside(tmp_path_factory):
    file = tmp_path_factory.mktemp("outside") / "secret.txt"
    file.write_text("secret")
    return file


def test_no_path_leads_out_of_the_root(folder, tmp_path_factory):
    secret = outside(tmp_path_factory)
    (folder.path / "link.txt").symlink_to(secret)
    (folder.path / "folder").symlink_to(secret.parent)
    inside = project(folder)

    for path in (str(secret), f"../{secret.parent.name}/secret.txt", "link.txt", "folder/secret.txt", "/etc/passwd", "..", "a/../../x"):
        with pytest.raises(CampaignError, match="leads out of the project's root|allow_paths"):
            inside.resolve(path, None)


def test_allowed_paths_may_be_read(folder, tmp_path_factory):
    secret = outside(tmp_path_factory)
    (folder.path / "link.txt").symlink_to(secret)
    allowing = project(folder)
    allowing.allow((str(secret.parent),))

    assert allowing.read("link.txt", None, 100) == b"secret"
    with pytest.raises(CampaignError):
        allowing.resolve(str(secret.parent) + "-other", None)


def test_a_link_inside_the_root_is_fine(folder):
    (folder.path / "link.txt").symlink_to(folder.path / "digest.txt")

    assert project(folder).read("link.txt", None, 100).startswith(b"Hello")


def test_only_regular_files_are_read(folder):
    os.mkfifo(folder.path / "pipe")
    (folder.path / "loop").symlink_to("loop")

    for path, words in (("pipe", "not a regular file"), (".", "not a regular file"), ("gone", "no such file"), ("loop", "\"loop\": "), ("a\0b", "NUL")):
        with pytest.raises(CampaignError, match=words):
            project(folder).read(path, None, 100)


def test_a_file_over_its_bound_is_refused(folder):
    folder.write("large", "x" * 101)

    with pytest.raises(CampaignError, match="larger than 100 octets"):
        project(folder).read("large", None, 100)


@pytest.mark.parametrize("swapped", ["file", "folder", "pipe", "folder by a link into itself"])
def test_a_link_that_is_put_there_between_the_check_and_the_reading_leads_nowhere(folder, tmp_path_factory, monkeypatch, swapped):
    """reliability 5a, path escape: no race between looking at a path and opening it."""
    secret = outside(tmp_path_factory)
    folder.write("a/b/secret.txt", "harmless")
    inside = project(folder)
    real = inside.resolve("a/b/secret.txt", None)
    place = {"file": real, "pipe": real}.get(swapped, str(folder.path / "a" / "b"))

    def swap(path, where, shown_as=None):
        os.rename(place, place + ".was")
        if swapped == "pipe":
            os.mkfifo(place)
        else:
            os.symlink({"file": secret, "folder": secret.parent}.get(swapped, "b.was"), place)
        return real

    monkeypatch.setattr(inside, "resolve", swap)

    with pytest.raises(CampaignError, match="not a regular file" if swapped == "pipe" else "became a link while it was used"):
        inside.read("a/b/secret.txt", None, 100)


def test_a_folder_that_may_be_entered_but_not_listed_can_be_read_from(folder):
    folder.write("closed/file.txt", "x")
    (folder.path / "closed").chmod(0o100)

    assert project(folder).read("closed/file.txt", None, 100) == b"x"
