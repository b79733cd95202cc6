"""replaced.py prepare|run SERVER SCHEME MOUNT TTL: what programs see of objects that the store's own client replaces or deletes while they are known
from a listing.

The objects are put into bucket "matrix" by "prepare", before it is mounted at MOUNT, which believes names for TTL. Every way of reading gives the new version whole; every way of
changing a file changes the new version. Exits with 1 at the first difference.
"""

import mmap
import os
import sys
import tempfile
from pathlib import Path

from clients import client

OLD = bytes(range(20, 120)) * 10
NEW = {"shorter": bytes(range(130, 140)), "as long": bytes(range(130, 230)) * 10, "longer": bytes(range(130, 230)) * 50}


def read(path):
    return path.read_bytes()


def pread(path):
    descriptor, pieces, at = os.open(path, os.O_RDONLY), [], 0
    while piece := os.pread(descriptor, 700, at):
        pieces.append(piece)
        at += len(piece)
    os.close(descriptor)
    return b"".join(pieces)


def mapped(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        return bytes(view)


def sent(path):
    with open(path, "rb") as file, tempfile.TemporaryFile() as copy:
        while os.sendfile(copy.fileno(), file.fileno(), None, 1 << 20):
            pass
        copy.seek(0)
        return copy.read()


def rewritten(path):
    with open(path, "r+b") as file:
        text = file.read()
        file.seek(0)
        file.write(text)
        file.truncate()


def read_and_appended(path):
    with open(path, "a+b") as file:
        file.seek(0)
        file.read()
        file.write(b"+")


def appended(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"+")
    os.close(descriptor)


READERS = {"read": read, "pread": pread, "mmap": mapped, "sendfile": sent}
WRITERS = {"r+": (rewritten, b""), "a+": (read_and_appended, b"+"), "O_APPEND": (appended, b"+")}


class Replaced:
    def __init__(self, server, scheme, mount, ttl):
        self.server, self.mount, self.ttl, self.compared = server, Path(mount), ttl, 0
        self.client = client(scheme, server)

    def key(self, number, name):
        return f"{self.ttl}-{number}-{name}"

    def prepare(self):
        names = [self.key(number, name) for number in range(len(NEW)) for name in [*READERS, *WRITERS]]
        for key in [*names, self.key(0, "deleted")]:
            self.client.put(key, OLD)

    def know(self, key):
        """Now the kernel has its length."""
        self.expect(f"the length of {key}", (self.mount / key).stat().st_size, len(OLD))

    def replace(self, key, new):
        self.know(key)
        self.client.put(key, new)

    def expect(self, what, found, expected):
        if found != expected:
            sys.exit(f"replaced: {self.server}, TTL {self.ttl}: {what}: {found!r:.80} instead of {expected!r:.80}")
        self.compared += 1

    def run(self):
        for number, (how, new) in enumerate(NEW.items()):
            for name, reader in READERS.items():
                key = self.key(number, name)
                self.replace(key, new)
                self.expect(f"{name} of what is {how}", reader(self.mount / key), new)
            for name, (writer, added) in WRITERS.items():
                key = self.key(number, name)
                self.replace(key, new)
                writer(self.mount / key)
                found = b"".join(self.client.blocks(key))
                self.expect(f"{name} of what is {how}", found, new + added)
        self.deleted(self.key(0, "deleted"))
        print(f"replaced: {self.server}, TTL {self.ttl}: {self.compared} comparisons, 0 differences")

    def deleted(self, key):
        self.know(key)
        self.client.delete(key)
        try:
            self.expect("what was deleted", (self.mount / key).read_bytes(), None)
        except FileNotFoundError:
            self.expect("the list", key in os.listdir(self.mount), False)


getattr(Replaced(*sys.argv[2:]), sys.argv[1])()
