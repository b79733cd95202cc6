"""matrix.py SERVER MOUNT WORK: the comparisons of scripts/matrix, on bucket "matrix" mounted at MOUNT.

Written through the mount and read by boto3, then the other way round, compared by SHA-256. Exits with 1 at the first difference.
What boto3 wrote has names that the mount has never seen, so that its bytes come from the server.
"""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

BUCKET = "matrix"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# Around the borders of a cached block and of an uploaded part.
SIZES = [0, 1, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, GIB]
# How the largest file is written: in every way where the server is fast enough.
LARGEST = {"devserver": ["cp", "dd", "pwrite"], "rgw": ["pwrite"], "moto": ["cp"]}


def make_source(path, size):
    """Writes `size` random bytes; returns their hash."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for start in range(0, size, MIB):
            block = os.urandom(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def hash_of(stream):
    digest, size = hashlib.sha256(), 0
    while block := stream.read(MIB):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


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
    def __init__(self, server, mount, work):
        self.server, self.mount, self.work = server, Path(mount), Path(work)
        # Ceph 16 does not know the checksums that boto3 sends of its own accord.
        checksums = "when_required" if server == "rgw" else "when_supported"
        config = Config(s3={"addressing_style": "path"}, request_checksum_calculation=checksums)
        self.s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1", config=config)
        self.compared = 0

    def expect(self, what, found, expected):
        if found != expected:
            sys.exit(f"matrix: {self.server}: {what}: {found} instead of {expected}")
        self.compared += 1

    def written_through_the_mount(self, source, size, digest):
        for name in WRITERS if size < GIB else LARGEST[self.server]:
            key = f"{name}-{size}"
            WRITERS[name](source, self.mount / key, size)
            answer = self.s3.get_object(Bucket=BUCKET, Key=key)
            self.expect(f"{size} bytes written by {name}", hash_of(answer["Body"]), (size, digest))
            (self.mount / key).unlink()

    def read_through_the_mount(self, source, size, digest):
        key = f"boto3-{size}"
        transfer = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
        self.s3.upload_file(str(source), BUCKET, key, Config=transfer)
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
        with open(path, "rb") as shown:
            self.expect(f"{size} bytes written by boto3", hash_of(shown), (size, digest))
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def run(self):
        source = self.work / "source"
        for size in SIZES:
            digest = make_source(source, size)
            self.written_through_the_mount(source, size, digest)
            self.read_through_the_mount(source, size, digest)
        print(f"matrix: {self.server}: {self.compared} comparisons, no difference")


Matrix(*sys.argv[1:]).run()
