"""changes.py run|prepare|requests SERVER SCHEME MOUNT PAIL: the comparisons of scripts/matrix of what is done to files, on bucket "matrix" mounted at MOUNT.

What the mount does is looked at by the store's own client, and the other way round: bytes, and what an object carries beside them. PAIL is the
command, which tells what a small file costs in requests. Exits with 1 at the first difference.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from clients import Facts, client

MIB = 1 << 20
# Names that are of one segment, whatever a store makes of slashes.
NAMES = ["plain", "with a blank", "ä ö 日本", "a+b", "100%41", "q?x=1&y", "#hash", "[b]{c}", "'quote'", "~t", "a,b;c=d@e:f"]


def errno_of(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0


class Changes:
    def __init__(self, server, scheme, mount, pail):
        self.server, self.scheme, self.mount, self.pail = server, scheme, Path(mount), pail
        self.client = client(scheme, server)
        self.compared = 0

    def expect(self, what, found, expected):
        if found != expected:
            sys.exit(f"changes: {self.server}: {what}: {found!r:.300} instead of {expected!r:.300}")
        self.compared += 1

    def carries(self, size):
        """What an object carries that the client is given to write."""
        # Azure alone keeps the case of names.
        note = "NoteOfMine" if self.scheme == "az" else "note"
        return Facts(size, "text/x-mine", "max-age=60", {note: "a b", "mtime": "1700000000"})

    def stored(self, what, key, data, facts=None):
        self.expect(f"the bytes of {what}", b"".join(self.client.blocks(key)), data)
        if facts is not None:
            found = self.client.facts(key)
            # What Pail keeps of its own is no difference.
            found.metadata = {name: value for name, value in found.metadata.items() if name in facts.metadata}
            self.expect(f"what {what} carries", found, facts)

    def new_files(self):
        for name, content_type in [("n/new.json", "application/json"), ("n/new.html", "text/html"), ("n/new.png", "image/png")]:
            path = self.mount / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"{}")
            self.expect(f"the type of {name}", self.client.facts(name).content_type, content_type)
            path.write_bytes(b"[1, 2]")
            self.stored("an overwritten file", name, b"[1, 2]")
            self.client.put(name, b"more than was there before")
            self.expect("what the client overwrote", path.read_bytes(), b"more than was there before")

    def edited(self, size):
        """Appended to, changed in place, and renamed: the rest is kept."""
        data = os.urandom(size)
        key, path = f"e/{size}.bin", self.mount / "e" / f"{size}.bin"
        self.client.put(key, data, self.carries(size))
        self.expect(f"{size} bytes of the client", path.read_bytes(), data)
        with open(path, "ab") as file:
            file.write(b"appended")
        data += b"appended"
        self.stored(f"{size} bytes appended to", key, data, self.carries(len(data)))
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(b"edited")
        data = data[: size // 2] + b"edited" + data[size // 2 + 6 :]
        self.stored(f"{size} bytes edited", key, data, self.carries(len(data)))
        target = f"e/renamed-{size}.bin"
        os.rename(path, self.mount / target)
        self.stored(f"{size} bytes renamed", target, data, self.carries(len(data)))
        self.expect("the old name", self.client.facts(key), None)
        self.expect("the new name's bytes through the mount", (self.mount / target).read_bytes(), data)

    def of_azure(self):
        """Blobs that are none of blocks, and blocks that another client has left."""
        # Keeps the directory.
        self.client.put("k/stays", b"x")
        for name, kind in [("k/append", "AppendBlob"), ("k/page", "PageBlob")]:
            data = self.client.put_of_kind(name, kind)
            path = self.mount / name
            self.expect(f"the bytes of a {kind}", path.read_bytes(), data)
            for flags in [os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR]:
                self.expect(f"an {kind} opened to be changed", errno_of(lambda: os.open(path, flags)), errno.EOPNOTSUPP)
            self.expect(f"an {kind} truncated", errno_of(lambda: os.truncate(path, 1)), errno.EOPNOTSUPP)
            self.expect(f"an {kind} written anew", errno_of(lambda: path.write_bytes(b"new")), errno.EOPNOTSUPP)
            self.stored(f"a {kind} after all that", name, data)
            self.expect("its kind", self.client.kind(name), kind)
            path.unlink()
            path.write_bytes(b"new")
            self.stored("what took its place", name, b"new")
        path, data = self.mount / "k/left", os.urandom(20 * MIB)
        for length in [8, 48]:
            self.client.leave_block("k/left", length)
            path.write_bytes(data)
            self.stored(f"a file over a block whose name has {length} bytes", "k/left", data)

    def replaced_by_rename(self):
        self.client.put("r/old", b"old")
        (self.mount / "r/new").write_bytes(b"new")
        os.rename(self.mount / "r/new", self.mount / "r/old")
        self.stored("a file that another was renamed to", "r/old", b"new")
        self.expect("the list of it", self.client.keys("r/"), ["r/old"])

    def deleted(self):
        for name in ["x/by-mount", "x/by-client", "x/stays"]:
            self.client.put(name, b"x")
        self.expect("the list", sorted(os.listdir(self.mount / "x")), ["by-client", "by-mount", "stays"])
        (self.mount / "x/by-mount").unlink()
        self.expect("what the mount deleted", self.client.facts("x/by-mount"), None)
        self.client.delete("x/by-client")
        self.expect("what the client deleted", (self.mount / "x/by-client").exists(), False)
        self.expect("the list afterwards", os.listdir(self.mount / "x"), ["stays"])

    def listed(self):
        for name in NAMES:
            self.client.put(f"l/client/{name}", name.encode())
        self.client.put("l/client/sub/deep/file", b"x")
        found = sorted(str(path.relative_to(self.mount)) for path in (self.mount / "l/client").rglob("*") if path.is_file())
        self.expect("what the mount lists", found, sorted([f"l/client/{name}" for name in NAMES] + ["l/client/sub/deep/file"]))
        for name in NAMES:
            self.expect(f"the bytes of {name}", (self.mount / "l/client" / name).read_bytes(), name.encode())
        made = self.mount / "l/mount/sub"
        made.mkdir(parents=True)
        for name in NAMES:
            (made / name).write_bytes(name.encode())
        found = [key for key in self.client.keys("l/mount/") if not key.endswith("/")]
        self.expect("what the client lists", found, sorted(f"l/mount/sub/{name}" for name in NAMES))
        for name in NAMES:
            self.stored(name, f"l/mount/sub/{name}", name.encode())

    def requests(self):
        """What the daemon has sent so far, by its own counters."""
        status = json.loads(subprocess.run([self.pail, "status", "--json"], check=True, capture_output=True).stdout)
        return {name: count for mount in status["mounts"] for name, count in mount["store"]["requests"].items()}

    def sent(self, since):
        """What it has sent since then for files: a part of no upload is how a mount asks whether it may write, behind the first files."""
        sent = {name: count - since.get(name, 0) for name, count in self.requests().items() if count > since.get(name, 0)}
        if "CreateMultipartUpload" not in sent:
            sent.pop("UploadPart", None)
        return sent

    def prepare(self):
        """Before it is mounted."""
        self.client.put("c/cold", b"cold")

    def small_files(self):
        """Files in a directory that was just listed: at most 1 request to read one, and at most 2 to write one."""
        os.listdir(self.mount / "c")
        before = self.requests()
        (self.mount / "c/written").write_bytes(b"written")
        written = self.sent(before)
        self.expect(f"a small file written by at most 2 requests ({written})", sum(written.values()) <= 2, True)
        os.listdir(self.mount / "c")
        before = self.requests()
        self.expect("a cold file", (self.mount / "c/cold").read_bytes(), b"cold")
        read = self.sent(before)
        self.expect(f"a small file read by at most 1 request ({read})", sum(read.values()) <= 1, True)
        print(f"changes: {self.server}: a small file took {written} to write and {read} to read")

    def run(self):
        self.new_files()
        for size in [1000, 20 * MIB]:
            self.edited(size)
        if self.scheme == "az":
            self.of_azure()
        self.replaced_by_rename()
        self.deleted()
        self.listed()
        print(f"changes: {self.server}, {self.client.name}: {self.compared} comparisons, 0 differences")


changes = Changes(*sys.argv[2:])
{"run": changes.run, "prepare": changes.prepare, "requests": changes.small_files}[sys.argv[1]]()
