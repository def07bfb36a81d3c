#!/usr/bin/env python3
"""Records the sample: connections with every common outcome, in a network namespace of their own.

    sudo python3 make.py TRACER DIRECTORY

writes DIRECTORY/outcomes.tracer, and beside it the set rotated.*.tracer that a second tracer makes of the same
connections. Needs Linux 5.8, python3, iproute2, nftables. README.md says when to run it.
"""

import ctypes
import glob
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback

NETNS = "tracer-sample"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
# What arrives at this port is dropped; nobody listens at the other.
SILENT, CLOSED = 8009, 8010


def sh(command):
    subprocess.run(command, shell=True, check=True)


def name_process(name):
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)


def fork(name, work):
    """Runs `work` in a process of this name."""
    child = os.fork()
    if child:
        return child
    try:
        name_process(name)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def in_process(name, work):
    """Likewise, and waits for its end."""
    status = os.waitpid(fork(name, work), 0)[1]
    if status:
        sys.exit(f"{name} failed: {status}")


def server(family, address, port, on_accept):
    """Listens, and does `on_accept` with each connection, in a process of its own until the end."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))

    def serve():
        listener.listen(1024)
        while True:
            on_accept(listener.accept()[0])

    child = fork("server", serve)
    listener.close()
    return child


def answer(connection):
    """As a web server: the client closes first."""
    try:
        while data := connection.recv(4096):
            connection.sendall(data)
    except ConnectionResetError:
        pass
    connection.close()


def answer_and_close(connection):
    """The server closes first."""
    connection.sendall(connection.recv(4096))
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):
        pass
    connection.close()


def reset(connection):
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    connection.close()


# Until the end: processes, and in each the connections that stay open.
RUNNING, KEPT = [], []


def keep(connection):
    KEPT.append(connection)


def ask(address, port, family=socket.AF_INET):
    connection = socket.create_connection((address, port))
    connection.sendall(b"hello")
    while connection.recv(4096) and port == 8002:
        pass
    connection.close()


def be_reset():
    connection = socket.create_connection(("127.0.0.1", 8003))
    connection.sendall(b"hello")
    try:
        connection.recv(4096)
    except ConnectionResetError:
        return
    sys.exit("no reset")


def reset_it():
    connection = socket.create_connection(("127.0.0.1", 8001))
    connection.sendall(b"hello")
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    connection.close()


def be_refused():
    try:
        socket.create_connection(("127.0.0.1", CLOSED))
    except ConnectionRefusedError:
        return
    sys.exit("not refused")


def time_out():
    try:
        socket.create_connection(("127.0.0.1", SILENT))
    except TimeoutError:
        return
    sys.exit("no time-out")


def give_up():
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", SILENT))
    time.sleep(0.2)
    connection.close()


def burst():
    """More than the ring buffer of the stopped tracer takes."""
    for _ in range(75):
        ask("127.0.0.1", 8005)


def leave_open():
    connection = socket.create_connection(("127.0.0.1", 8004))
    connection.sendall(b"hello")
    time.sleep(60)


def start_tracer(tracer, *arguments):
    # A host name that says nothing of the machine.
    script = 'hostname sample && exec "$@"'
    command = ["unshare", "--uts", "sh", "-c", script, "sh", tracer, "record", "--netns", NETNS, *arguments]
    process = subprocess.Popen(command)
    RUNNING.append(process.pid)
    time.sleep(2)
    return process


def end(tracer):
    tracer.send_signal(signal.SIGINT)
    if tracer.wait():
        sys.exit("tracer failed")
    RUNNING.remove(tracer.pid)


def main():
    tracer, directory = sys.argv[1:]
    sh(f"ip netns add {NETNS}")
    try:
        in_process("make", lambda: inside(tracer, directory))
    finally:
        sh(f"ip netns delete {NETNS}")


def inside(tracer, directory):
    namespace = os.open(f"/run/netns/{NETNS}", os.O_RDONLY)
    ctypes.CDLL(None).setns(namespace, 0x40000000)
    sh("ip link set lo up")
    sh("echo 1 > /proc/sys/net/ipv4/tcp_syn_retries")
    sh("nft add table inet t && nft add chain inet t in '{ type filter hook input priority 0; }'")
    sh(f"nft add rule inet t in tcp dport {SILENT} drop")
    try:
        connections(tracer, directory)
    finally:
        for child in RUNNING:
            os.kill(child, signal.SIGKILL)
    for path in sorted(glob.glob(f"{directory}/*.tracer")):
        print(path, os.path.getsize(path))


def connections(tracer, directory):
    RUNNING.append(server(socket.AF_INET, "127.0.0.1", 8001, answer))
    RUNNING.append(server(socket.AF_INET, "127.0.0.1", 8002, answer_and_close))
    RUNNING.append(server(socket.AF_INET, "127.0.0.1", 8003, reset))
    RUNNING.append(server(socket.AF_INET, "127.0.0.1", 8004, keep))
    RUNNING.append(server(socket.AF_INET6, "::1", 8001, answer))
    RUNNING.append(server(socket.AF_INET, "127.0.0.1", 8005, answer))
    time.sleep(0.5)
    # There before the trace.
    early = socket.create_connection(("127.0.0.1", 8004))

    outcomes = start_tracer(tracer, "--ring-size", "64K", "-o", f"{directory}/outcomes.tracer")
    rotated = start_tracer(tracer, "--rotate-time", "2s", "-o", f"{directory}/rotated.tracer")
    in_process("client-closes", lambda: ask("127.0.0.1", 8001))
    in_process("server-closes", lambda: ask("127.0.0.1", 8002))
    in_process("ipv6", lambda: ask("::1", 8001))
    in_process("refused", be_refused)
    in_process("reset-by-peer", be_reset)
    in_process("reset-by-us", reset_it)
    in_process("gives-up", give_up)
    in_process("times-out", time_out)
    in_process("last", lambda: ask("127.0.0.1", 8001))
    early.close()
    time.sleep(1)
    end(rotated)

    outcomes.send_signal(signal.SIGSTOP)
    in_process("burst", burst)
    outcomes.send_signal(signal.SIGCONT)
    time.sleep(1)
    in_process("after-loss", lambda: ask("127.0.0.1", 8001))
    RUNNING.append(fork("stays-open", leave_open))
    time.sleep(1)
    end(outcomes)


main()
