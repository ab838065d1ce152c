"""Where a journal's promises do not hold: on another machine's disk, in a folder that a program synchronises."""

import pytest

from postroom.journal.place import warnings
from running import postroom

# As Linux 6.1 tells it, shortened; fuse.sshfs and 9p stand in for what cannot be mounted in a test.
MOUNTS = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime shared:1 - nfs4 files:/home rw,vers=4.2
31 27 0:41 / /mnt/a\040b rw,relatime - cifs //files/share rw
32 27 0:42 / /mnt/ssh rw,nosuid - fuse.sshfs ann@host: rw
33 27 0:43 / /mnt/c rw - 9p drvfs rw
34 27 0:44 / /mnt/crypt rw - fuse.gocryptfs /x rw
35 30 254:1 / /home/local rw - xfs /dev/vdb rw
36 27 0:45 / /over rw - nfs files:/x rw
37 36 254:2 / /over rw - btrfs /dev/vdc rw
""".strip()


@pytest.mark.parametrize(("path", "kind"), [("/home/ann/p/.postroom/journal.sqlite3", "nfs4"), ("/mnt/a b/journal.sqlite3", "cifs"), ("/mnt/ssh/j", "fuse.sshfs"),
                                            ("/mnt/c/Users/j", "9p")])
def test_a_file_system_of_another_machine_is_told(path, kind):
    warning, = warnings(path, MOUNTS)

    assert f"another machine ({kind})" in warning.what and "--journal" in warning.do


@pytest.mark.parametrize("path", ["/srv/j", "/mnt/crypt/j", "/home/local/j", "/homes/j", "/mnt/cc/j", "/over/j"])
def test_a_disk_of_this_machine_is_fine(path):
    """The innermost mount counts, and of two at one place the later."""
    assert warnings(path, MOUNTS) == []


@pytest.mark.parametrize(("folder", "program"), [
    ("Dropbox", "Dropbox"), ("Dropbox (Personal)", "Dropbox"), ("OneDrive - Example Ltd", "OneDrive"), ("Google Drive/My Drive", "Google Drive"),
    ("Library/Mobile Documents/com~apple~CloudDocs", "iCloud"), ("Library/CloudStorage/OneDrive-Personal", "OneDrive"), ("Library/CloudStorage/Box-Box", "a cloud storage"),
    ("Nextcloud", "Nextcloud"), ("BaiduSyncdisk", "Baidu")])
def test_a_folder_that_is_synchronised_is_told_by_its_name(folder, program):
    warning, = warnings(f"/srv/ann/{folder}/campaigns/.postroom/journal.sqlite3", MOUNTS)

    assert f"{program} synchronises" in warning.what


@pytest.mark.parametrize("folder", ["Dropboxes", "my Dropbox notes", "OneDriveways"])
def test_a_name_that_only_looks_like_one_is_fine(folder):
    assert warnings(f"/srv/{folder}/journal.sqlite3", MOUNTS) == []


@pytest.mark.parametrize(("marker", "program"), [(".stfolder", "Syncthing"), (".dropbox.cache", "Dropbox"), (".nextcloudsync.log", "Nextcloud")])
def test_send_and_status_tell_it_and_go_on(folder, relay, marker, program):
    folder.write(f"{marker}/x" if marker == ".stfolder" else marker, "")
    folder.relay(relay.port)

    sent, status = postroom("send", "campaign.yaml", "--yes"), postroom("status")

    assert (sent.exit, status.exit, len(relay.taken)) == (0, 0, 2)
    for said in (sent, status):
        assert said.err.count("Note: ") == 1 and f"{program} synchronises" in said.err and "--journal PATH" in said.err


def test_an_ordinary_folder_is_not_told_about(folder, relay):
    folder.relay(relay.port)

    assert "Note" not in postroom("send", "campaign.yaml", "--yes").err
