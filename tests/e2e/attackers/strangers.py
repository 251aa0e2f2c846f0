"""strangers.py URL COUNT: holds COUNT connections without a token, from an address of its own, and comes again as soon as one is closed.

Each third one asks and is told 401; the others say nothing. Prints a line once each of them has been closed and has come again.
"""

import selectors
import socket
import sys
from urllib.parse import urlsplit

URL, COUNT = urlsplit(sys.argv[1]), int(sys.argv[2])
ADDRESS = "127.0.0.2"
ASK = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"

selector = selectors.DefaultSelector()


def come(index: int) -> None:
    stranger = socket.socket()
    stranger.setblocking(False)
    stranger.bind((ADDRESS, 0))
    stranger.connect_ex((URL.hostname, URL.port))
    selector.register(stranger, selectors.EVENT_WRITE if index % 3 == 0 else selectors.EVENT_READ, index)


for index in range(COUNT):
    come(index)
again = 0
while True:
    for key, events in selector.select():
        try:
            if events & selectors.EVENT_WRITE:
                key.fileobj.send(ASK)
                selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                continue
            if key.fileobj.recv(4096):
                continue
        except OSError:
            pass
        selector.unregister(key.fileobj)
        key.fileobj.close()
        come(key.data)
        again += 1
        if again == COUNT:
            print("crowded", flush=True)
