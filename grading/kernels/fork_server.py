"""A process that has preloaded the notebooks' imports and forks a kernel server into each submission's sandbox.

    python fork_server.py FILE_DESCRIPTOR STATEMENTS

A worker has one for all of its submissions, so that the imports, which take seconds, happen once. It runs in a sandbox
of its own, one that allows nested sandboxes, and never runs a student's code. It executes the statements once, then
serves requests at the socket until the worker closes its standard input or no request has come for a while.

A request is one line of JSON, with bubblewrap's command line for a sandbox, its limits and the kernel server's
arguments, and two file descriptors, a socket and a log. A fork of this process has bubblewrap create the sandbox,
enters it, and becomes the kernel server described in kernel_server.py, with that socket and that log. The reply is the
process id of the kernel server and that of its parent; when the parent exits, everything in the sandbox is killed. On
failure the reply is the error, and the client can start a kernel server without this process.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback

if __name__ == "__main__":
    gc.disable()  # as kernel_server does

# Files beside this one.
import kernel_server
import namespaces
from limits import Limits
from process_control import die_with_parent
from system_calls import Filter, filtered

if __name__ == "__main__":
    del sys.path[0]  # this file's folder, which is not for notebooks to import from

IDLE_SECONDS = 600


def main(listening: socket.socket, statements: str) -> None:
    """Serve requests until the worker is gone or has been idle for `IDLE_SECONDS`."""
    kernel_server.preload(statements)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # exited forks need no wait()
    while True:
        ready, _, _ = select.select([sys.stdin, listening], [], [], IDLE_SECONDS)
        if listening not in ready or sys.stdin in ready:
            return  # forked kernel servers keep running
        connection, _ = listening.accept()
        with connection:
            if os.fork() == 0:
                listening.close()
                handle_request(connection)


def handle_request(connection: socket.socket) -> None:
    """Fork a kernel server into a new sandbox, and kill the sandbox when either end exits. Does not return."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request, server_socket = receive_request(connection)
        Limits(**request["limits"]).apply()
        bubblewrap, sandbox = make_sandbox(request["sandbox"])
        namespaces.enter(sandbox)
        reading, writing = os.pipe()
        server = os.fork()
        if server == 0:
            become_kernel_server(sandbox, writing, server_socket, request["arguments"])
        server_socket.close()
        os.close(writing)
        if not os.read(reading, 1):
            raise PermissionError("the sandbox could not be entered")
        send_reply(connection, parent=os.getpid(), server=server)
        # Until the kernel server exits or the client closes its side.
        select.select([connection.fileno(), os.pidfd_open(server)], [], [])
        bubblewrap.kill()  # and with it everything in the sandbox
        os.waitpid(server, 0)
    except Exception as error:
        with contextlib.suppress(OSError):
            send_reply(connection, error=f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def receive_request(connection: socket.socket) -> tuple[dict, socket.socket]:
    """Read a request and the kernel server's socket; redirect this process's output to the log that comes with them."""
    begin, (server_socket, log), _, _ = socket.recv_fds(connection, 1, 2)
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with connection.makefile("rb") as stream:
        return json.loads(begin + stream.readline()), socket.socket(fileno=server_socket)


def send_reply(connection: socket.socket, **reply: int | str) -> None:
    """Send one line of JSON."""
    connection.sendall(json.dumps(reply).encode() + b"\n")


def make_sandbox(command: list[str]) -> tuple[subprocess.Popen, dict[str, int]]:
    """Have bubblewrap create a sandbox that holds only an idle `cat`; return bubblewrap's process and the namespaces.

    When this process exits, the pipe to `cat` closes, and the sandbox ends with it.
    """
    reading, writing = os.pipe()
    with open(reading, "rb") as info, filtered(command) as (prefix, system_calls):
        bubblewrap = subprocess.Popen(
            [*prefix, "--info-fd", str(writing), "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[writing, system_calls],
        )
        os.close(writing)
        first = json.load(info)["child-pid"]
    assert bubblewrap.stdin and bubblewrap.stdout
    # Only when `cat` echoes has bubblewrap finished.
    bubblewrap.stdin.write(b"\n")
    bubblewrap.stdin.flush()
    if not bubblewrap.stdout.readline():
        raise ChildProcessError("bubblewrap could not create the sandbox")
    return bubblewrap, namespaces.open_namespaces(first)


def become_kernel_server(
    sandbox: dict[str, int], success: int, server_socket: socket.socket, arguments: list[str]
) -> None:
    """Become a submission's kernel server, with the sandbox's privileges only. Does not return.

    A byte is written to `success` once all privileges are dropped.
    """
    try:
        namespaces.drop_privileges()
        Filter().load()
        namespaces.verify_inside(sandbox)
        die_with_parent()
        os.setsid()
        os.write(success, b"1")
        namespaces.close_other_descriptors(server_socket.fileno())
        kernel_server.serve_submission(server_socket, *arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
