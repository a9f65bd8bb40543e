"""A process that has imported what the notebooks import, and forks a kernel server into each submission's sandbox.

    python fork_server.py FILE_DESCRIPTOR STATEMENTS

A worker has one for all of its submissions, so that what takes seconds is done once. It is itself in a sandbox, one in
which further ones can be made, and no student's code ever runs in it. It runs the statements once. Then it waits at the
socket for orders, until the worker closes its standard input, or nobody has ordered anything for a while.

An order is one line of JSON, with bubblewrap's command line for a sandbox and the kernel server's arguments, and two
file descriptors, a socket and a log. A fork of this process has bubblewrap make the sandbox, goes in, and becomes the
kernel server that kernel_server.py describes, with that socket and that log. The answer is the number of that process,
and of its parent, whose end is the end of everything in the sandbox. Where this goes wrong, the answer says why, and
who asked can start a kernel server without this process.
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

# These lie beside this file.
import kernel_server
import namespaces

if __name__ == "__main__":
    del sys.path[0]  # this file's folder, which is not for notebooks to import from

IDLE_SECONDS = 600


def main(listening: socket.socket, statements: str) -> None:
    """Serve until the worker is gone, or seems not to need this process any more."""
    kernel_server.prepare(statements)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are forked
    while True:
        ready, _, _ = select.select([sys.stdin, listening], [], [], IDLE_SECONDS)
        if listening not in ready or sys.stdin in ready:
            return  # what was forked goes on
        connection, _ = listening.accept()
        with connection:
            if os.fork() == 0:
                listening.close()
                serve(connection)


def serve(connection: socket.socket) -> None:
    """Carry out one order: be the parent of a kernel server, and the keeper of its sandbox. Does not return."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        order, server_socket = receive(connection)
        keeper, inside = make_sandbox(order["sandbox"])
        namespaces.enter(inside)
        reading, writing = os.pipe()
        server = os.fork()
        if server == 0:
            become_kernel_server(inside, writing, server_socket, order["arguments"])
        server_socket.close()
        os.close(writing)
        if not os.read(reading, 1):
            raise PermissionError("the sandbox could not be entered")
        tell(connection, family=os.getpid(), process=server)
        # Until the server has ended, or nobody needs it any more.
        select.select([connection, os.pidfd_open(server)], [], [])
        keeper.kill()  # and with it everything in the sandbox
        os.waitpid(server, 0)
    except Exception as error:
        with contextlib.suppress(OSError):
            tell(connection, error=f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def receive(connection: socket.socket) -> tuple[dict, socket.socket]:
    """Read an order and the kernel server's socket; what this process prints goes into the log from now on."""
    begin, (server_socket, log), _, _ = socket.recv_fds(connection, 1, 2)
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with connection.makefile("rb") as stream:
        return json.loads(begin + stream.readline()), socket.socket(fileno=server_socket)


def tell(connection: socket.socket, **answer) -> None:
    """Send one line of JSON."""
    connection.sendall(json.dumps(answer).encode() + b"\n")


def make_sandbox(command: list[str]) -> tuple[subprocess.Popen, dict[str, int]]:
    """Have bubblewrap make a sandbox, with a process in it that does nothing; return bubblewrap and the namespaces.

    Should this process end, its pipe to that one is closed, and the sandbox ends too.
    """
    reading, writing = os.pipe()
    with open(reading, "rb") as told:
        keeper = subprocess.Popen(
            [*command[:1], "--info-fd", str(writing), *command[1:], "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[writing],
        )
        os.close(writing)
        first = json.load(told)["child-pid"]
    # Only when `cat` answers has bubblewrap finished.
    keeper.stdin.write(b"\n")
    keeper.stdin.flush()
    if not keeper.stdout.readline():
        raise ChildProcessError("bubblewrap made no sandbox")
    return keeper, namespaces.open_namespaces(first)


def become_kernel_server(
    inside: dict[str, int], success: int, server_socket: socket.socket, arguments: list[str]
) -> None:
    """Be a submission's kernel server, with no right but those of the sandbox. Does not return.

    A byte is written into `success` when all rights are given up.
    """
    try:
        namespaces.drop_privileges()
        namespaces.insist_on_being_in(inside)
        kernel_server.die_with_parent()
        os.setsid()
        os.write(success, b"1")
        namespaces.close_all_but(server_socket.fileno())
        kernel_server.serve_submission(server_socket, *arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
