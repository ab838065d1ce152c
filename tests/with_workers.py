"""The command line with so many workers for the smallest of lists: python with_workers.py NUMBER send campaign.yaml --yes

0: none, as on a machine with one processor. Where threads run there are none either, however many are asked for.
"""

import os
import sys

from postroom import worker
from postroom.check import crew, preflight
from postroom.cli.main import main


def small(number):
    worker.spare = lambda: number if len(os.listdir("/proc/self/task")) == 1 else 0
    crew.ALONE, preflight.SHARE_ROWS = 2, 3


if __name__ == "__main__":
    small(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
