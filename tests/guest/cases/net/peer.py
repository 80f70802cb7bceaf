#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""The other end of the guest's transfers, on this machine's loopback, or PEER_ADDRESS.

usage: peer.py FILE STATE: whoever connects to the first port gets FILE; to the second, gets the MD5 of what it
sends until it ends its side. The ports are written to STATE when they are open. It ends with its input.
"""
import hashlib
import os
import socket
import sys
import threading


def listen(serve):
    listener = socket.create_server((os.environ.get("PEER_ADDRESS", "127.0.0.1"), 0))

    def loop():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return listener.getsockname()[1]


def send_file(connection):
    with connection, open(sys.argv[1], "rb") as file:
        connection.sendfile(file)


def take(connection):
    with connection:
        md5 = hashlib.md5()
        while data := connection.recv(1 << 16):
            md5.update(data)
        connection.sendall(md5.hexdigest().encode() + b"\n")


down, up = listen(send_file), listen(take)
with open(sys.argv[2] + ".new", "w", encoding="ascii") as state:
    state.write(f"{down} {up}\n")
os.rename(sys.argv[2] + ".new", sys.argv[2])
sys.stdin.read()
