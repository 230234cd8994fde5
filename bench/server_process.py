"""A server as a process of its own: started on a free port, waited for, stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def stop(process):
    """Ends the process and its children: politely, after 20 s not so."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
            return


@contextlib.contextmanager
def running_server(command, environment=None, start_seconds=900):
    """Runs `command` + ["--port", PORT], with `environment` beside what this process has, while the
    context is open; gives the port once /health there answers 200. Ends the program with the
    server's own words if it does not start: vLLM compiles for minutes when it first does."""
    port = free_port()
    command = [*command, "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + start_seconds
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode(errors="replace")[-3000:]
                    sys.exit(f"{' '.join(command)}\ndid not start:\n{words}")
                time.sleep(0.05)
            yield port
        finally:
            stop(process)
