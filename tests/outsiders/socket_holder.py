"""A supervisor that holds listening sockets while the process behind them is replaced.

    socket_holder.py NAME=PORT[,NAME=PORT…] LOG COMMAND…

Binds the ports on loopback and starts COMMAND with the sockets, as sd_listen_fds(3) describes. For each
line that it reads it sends SIGTERM, waits for the end, starts COMMAND anew with the same sockets and
prints `restarted`; at the end of its input it ends the process.
"""

import os
import signal
import socket
import sys


def start(sockets, log, command):
    pid = os.fork()
    if pid:
        return pid
    for number, (_, own) in enumerate(sockets):
        os.dup2(own.fileno(), 3 + number)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(sockets))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in sockets)
    os.execv(command[0], command)


def end(pid):
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


def main():
    names, log, *command = sys.argv[1:]
    sockets = []
    for text in names.split(","):
        name, port = text.split("=")
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(("127.0.0.1", int(port)))
        own.listen(4096)
        # Out of the way of the numbers that they are handed over by.
        sockets.append((name, socket.socket(fileno=fcntl_high(own.detach()))))
    pid = start(sockets, log, command)
    print("started", flush=True)
    for _ in sys.stdin:
        end(pid)
        pid = start(sockets, log, command)
        print("restarted", flush=True)
    end(pid)


def fcntl_high(number):
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 50)


main()
