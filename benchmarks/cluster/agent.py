"""Start a command on the second machine, where a launcher would call ssh: HOST COMMAND..."""

import os
import sys

from machines import SPACES_OF_SECOND

MACHINE = "SECOND_MACHINE"  # its first process's number

if __name__ == "__main__":
    # As sshd does it: the command's words are a line for a shell.
    line = " ".join(sys.argv[2:])
    enter = ["nsenter", "--target", os.environ[MACHINE], *SPACES_OF_SECOND, "--", "sh", "-c", line]
    os.execvp(enter[0], enter)
