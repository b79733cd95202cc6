"""matrix.py SERVER SCHEME MOUNT WORK: the comparisons of scripts/matrix of files' bytes, on bucket "matrix" mounted at MOUNT.

Written through the mount and read by the store's own client, then the other way round, compared by SHA-256. Exits with 1 at the first
difference. What the client wrote has names that the mount has never seen, so that its bytes come from the server.
"""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

from clients import client

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# Around the borders of a cached block and of an uploaded part.
BORDERS = [0, 1, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1]
# The servers that the largest file has 1 GiB on, and how it is written there: in every way where the server is fast enough. moto is not: it
# copies all of an object for each range of it.
LARGEST = {"devserver": ["cp", "dd", "pwrite"], "rgw": ["pwrite"]}
# On the others it has this, and is copied.
LARGE = 200 * MIB


def make_source(path, size):
    """Writes `size` random bytes; returns their hash."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for start in range(0, size, MIB):
            block = os.urandom(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def hash_of(blocks):
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


def blocks_of(file):
    while block := file.read(MIB):
        yield block


def write_cp(source, target, _size):
    subprocess.run(["cp", source, target], check=True)


def write_dd(source, target, size):
    block = 997 if size <= MIB else 99_991
    subprocess.run(["dd", f"if={source}", f"of={target}", f"bs={block}", "status=none"], check=True)


def write_pwrite(source, target, size):
    """Pieces of random lengths in random order, a tenth of them with other bytes first."""
    order = random.Random(size)
    pieces, start = [], 0
    while start < size:
        end = min(size, start + order.randint(1, max(1, min(size // 7, 3 * MIB))))
        pieces.append((start, end - start))
        start = end
    order.shuffle(pieces)
    debris = order.sample(pieces, len(pieces) // 10)
    given, made = os.open(source, os.O_RDONLY), os.open(target, os.O_RDWR | os.O_CREAT)
    try:
        for start, length in debris:
            os.pwrite(made, b"\xee" * length, start)
        for start, length in pieces:
            written = os.pwrite(made, os.pread(given, length, start), start)
            assert written == length, f"{written} of {length} bytes at {start}"
    finally:
        os.close(given)
        os.close(made)


WRITERS = {"cp": write_cp, "dd": write_dd, "pwrite": write_pwrite}


class Matrix:
    def __init__(self, server, scheme, mount, work):
        self.server, self.mount, self.work = server, Path(mount), Path(work)
        self.client = client(scheme, server)
        self.compared = 0

    def expect(self, what, found, expected):
        if found != expected:
            sys.exit(f"matrix: {self.server}: {what}: {found} instead of {expected}")
        self.compared += 1

    def writers(self, size):
        if size < LARGE:
            return WRITERS
        return ["cp"] if size < GIB else LARGEST[self.server]

    def written_through_the_mount(self, source, size, digest):
        for name in self.writers(size):
            key = f"{name}-{size}"
            WRITERS[name](source, self.mount / key, size)
            self.expect(f"{size} bytes written by {name}", hash_of(self.client.blocks(key)), (size, digest))
            if size:
                start = size // 3
                with open(source, "rb") as given:
                    expected = os.pread(given.fileno(), 1000, start)
                self.expect(f"a range of what {name} wrote", self.client.range(key, start, 1000), expected)
            (self.mount / key).unlink()

    def read_through_the_mount(self, source, size, digest):
        key = f"client-{size}"
        self.client.upload(key, source)
        path = self.mount / key
        self.expect(f"the length of {size} bytes", path.stat().st_size, size)
        # In random order first, while nothing is cached.
        order = random.Random(size)
        with open(source, "rb") as given, open(path, "rb") as shown:
            for _ in range(20 if size else 0):
                start, length = order.randrange(size), order.randint(1, 300 * KIB)
                found, expected = os.pread(shown.fileno(), length, start), os.pread(given.fileno(), length, start)
                if found != expected:
                    sys.exit(f"matrix: {self.server}: {size} bytes: {length} bytes at {start} differ")
                self.compared += 1
        with open(path, "rb") as shown:
            self.expect(f"{size} bytes written by {self.client.name}", hash_of(blocks_of(shown)), (size, digest))
        self.client.delete(key)

    def run(self):
        source = self.work / "source"
        largest = GIB if self.server in LARGEST else LARGE
        for size in [*BORDERS, 20 * MIB, largest]:
            digest = make_source(source, size)
            self.written_through_the_mount(source, size, digest)
            self.read_through_the_mount(source, size, digest)
        print(f"matrix: {self.server}, {self.client.name}: {self.compared} comparisons, 0 differences")


Matrix(*sys.argv[1:]).run()
