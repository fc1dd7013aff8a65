"""Copy a socket to a file, the minimum work of a server: copy_server.py PORT DIRECTORY."""

import os
import shutil
import socketserver
import sys
import uuid
from pathlib import Path

CHUNK = 10 * 2**20


class Limited:
    """The next ``size`` bytes of a stream, for shutil.copyfileobj."""

    def __init__(self, stream, size):
        self.stream, self.left = stream, size

    def read(self, wanted):
        data = self.stream.read1(min(wanted, self.left))
        self.left -= len(data)
        return data


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        left = int.from_bytes(self.rfile.read(8), "big")
        if left > 2**50:
            return  # an HTTP request that only probes the server
        with (Path(sys.argv[2]) / uuid.uuid4().hex).open("wb", buffering=0) as file:
            while left:
                size = min(CHUNK, left)
                shutil.copyfileobj(Limited(self.rfile, size), file, 2**18)
                os.fsync(file.fileno())
                self.wfile.write(b"k")
                left -= size


socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
