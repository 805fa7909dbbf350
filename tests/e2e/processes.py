"""Real processes under test: started on free loopback ports, awaited by condition, ended by pid."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
POLL_S = 0.05


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, deadline_s, what):
    """The first true value of `condition()`, polled; AssertionError naming `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(POLL_S)


def accepts(port):
    """Whether somebody listens on a loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Process:
    """A child process with its output in a file; the same command can be started again."""

    def __init__(self, command, log, env=None):
        self.command = [str(c) for c in command]
        self.log = Path(log)
        self.env = {**os.environ, **(env or {})}
        self.child = None

    def start(self):
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env, cwd=ROOT
            )
        return self

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        """SIGKILL: no chance to tidy up."""
        self.child.kill()
        self.child.wait(30)

    def stop(self, deadline_s=60):
        """SIGTERM, and the exit code; SIGKILL after the deadline."""
        if not self.running():
            return self.child.returncode if self.child else None
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command[:4]} did not stop within {deadline_s} s:\n{self.tail()}") from None

    def tail(self, size=4000):
        """The end of its output, for messages."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""


def python(*arguments):
    """A command line of this environment's Python."""
    return [sys.executable, *arguments]


def run_to_end(command, deadline_s=120):
    """Exit code, standard output and standard error of a command."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT, timeout=deadline_s)
    return done.returncode, done.stdout, done.stderr
