"""Runs other programs."""

import subprocess
import sys


def run(command):
    """The command's stdout. Ends the program with the command's own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed ({done.returncode}):\n{done.stderr[-3000:]}")
    return done.stdout
