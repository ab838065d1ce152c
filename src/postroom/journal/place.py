"""Whether the journal lies where its promises do not hold: on another machine's disk, or in a folder that a program synchronises.

SQLite's write-ahead log wants all its readers on one machine (sqlite.org/wal.html, section 1). A program that synchronises may put an
older copy back, or bring one that another machine wrote.
"""

import os
import re

from postroom.errors import JournalError

MOUNTS = "/proc/self/mountinfo"
# File systems whose files lie, or may lie, on another machine.
REMOTE = {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs",
          "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
# Of those that a program of the user's serves, these keep their files here.
LOCAL_FUSE = {"fuse.bindfs", "fuse.encfs", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.mergerfs", "fuse.ntfs-3g"}
# What the folders are called into which programs synchronise, whole or with more behind it ("OneDrive - Company", "Dropbox (Personal)").
SYNCED = {"Dropbox": "Dropbox", "OneDrive": "OneDrive", "Google Drive": "Google Drive", "GoogleDrive": "Google Drive", "Mobile Documents": "iCloud",
          "iCloudDrive": "iCloud", "CloudStorage": "a cloud storage", "Nextcloud": "Nextcloud", "ownCloud": "ownCloud", "pCloudDrive": "pCloud",
          "BaiduSyncdisk": "Baidu", "Nutstore": "Nutstore"}
# And what such programs put into them.
MARKERS = {".stfolder": "Syncthing", ".dropbox.cache": "Dropbox", ".dropbox": "Dropbox", ".nextcloudsync.log": "Nextcloud", ".owncloudsync.log": "ownCloud"}
DO = "keep it on a disk of this machine: --journal PATH or POSTROOM_JOURNAL"


def warnings(path: str, mounts: str | None = None) -> list[JournalError]:
    """What to tell about a journal at this real path.

    mounts: what is mounted, as Linux tells it; read where it is not given. On other systems only synchronised folders are seen.
    """
    found = []
    if kind := _remote(path, _mounts() if mounts is None else mounts):
        found.append(JournalError(f"the journal lies on a file system of another machine ({kind}), where neither its lock nor its commits are sure", path, DO))
    if program := _synced(path):
        found.append(JournalError(f"the journal lies in a folder that {program} synchronises: an older copy may come back, and people would be mailed twice", path, DO))
    return found


def _mounts():
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _remote(path, mounts):
    """The kind of the file system that holds the path, where it is a remote one."""
    longest, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        # Octal stands for what would break the line: proc(5), /proc/pid/mountinfo.
        folder = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split(" ")[4])
        if len(folder) >= len(longest) and (path + "/").startswith(folder.rstrip("/") + "/"):
            longest, kind = folder, after.split(" ")[0]
    return kind if kind in REMOTE or kind.startswith("fuse.") and kind not in LOCAL_FUSE else None


def _synced(path):
    """The program that synchronises a folder above the path."""
    folder = path
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        name = os.path.basename(folder)
        for begin, program in SYNCED.items():
            if name == begin or name.startswith((begin + " ", begin + "-")):
                return program
        for marker, program in MARKERS.items():
            if os.path.lexists(os.path.join(folder, marker)):
                return program
    return None
