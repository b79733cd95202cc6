"""copies.py SERVER SCHEME URI PAIL FOLDER: the comparisons of scripts/matrix of `pail cp`, `pail sync` and `pail rm`, on bucket "matrix", whose URI it is.

What Pail sends is looked at by the store's own client, and the other way round: names, bytes, content types, times and modes. Files are below FOLDER. Exits
with 1 at the first difference.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from clients import Facts, client

MIB = 1 << 20
# Names that are of one segment, whatever a store makes of slashes.
NAMES = ["plain", "with a blank", "ä ö 日本", "a+b", "100%41", "q?x=1&y", "#hash", "[b]{c}", "'quote'", "~t", "a,b;c=d@e:f"]
SIZES = [0, 1, 1000, 8 * MIB, 8 * MIB + 1, 20 * MIB]
TYPES = {"t.json": "application/json", "t.html": "text/html", "t.png": "image/png"}
TIME_NS = 1_700_000_000_123_456_789


class Copies:
    def __init__(self, server, scheme, uri, pail, folder):
        self.server, self.scheme, self.uri, self.pail = server, scheme, uri, pail
        self.folder = Path(folder) / "copies"
        self.client = client(scheme, server)
        self.compared = 0

    def expect(self, what, found, expected):
        if found != expected:
            sys.exit(f"copies: {self.server}: {what}: {found!r:.300} instead of {expected!r:.300}")
        self.compared += 1

    def ran(self, *arguments):
        """What a command prints, which must succeed."""
        done = subprocess.run([self.pail, *map(str, arguments), "--json"], capture_output=True, text=True)
        self.expect(f"{arguments[0]}: the exit code (it said {done.stderr!r:.200})", done.returncode, 0)
        return done.stdout

    def counts(self, *arguments):
        # Its summary is the last line.
        report = json.loads(self.ran(*arguments).splitlines()[-1])
        return report["copied"], report["unchanged"], report["removed"]["deleted"]

    def stored(self, key, data):
        self.expect(f"the bytes of {key}", b"".join(self.client.blocks(key)), data)

    def tree(self):
        source = self.folder / "up"
        (source / "sub/deep").mkdir(parents=True)
        for size in SIZES:
            (source / f"sub/{size}.bin").write_bytes(os.urandom(size))
        for name in NAMES + list(TYPES):
            (source / "sub/deep" / name).write_bytes(name.encode())
        for at, path in enumerate(self.files(source)):
            os.chmod(path, [0o644, 0o600, 0o755][at % 3])
            os.utime(path, ns=(TIME_NS + at, TIME_NS + at))
        return source

    @staticmethod
    def files(directory):
        return sorted(path for path in directory.rglob("*") if path.is_file())

    def sent(self):
        source = self.tree()
        files = {f"up/{path.relative_to(source)}": path for path in self.files(source)}
        self.expect("what was sent", self.counts("cp", "-r", source, f"{self.uri}/up"), (len(files), 0, 0))
        self.expect("the client's list", self.client.keys("up/"), sorted(files))
        for key, path in files.items():
            self.stored(key, path.read_bytes())
            facts, stat = self.client.facts(key), path.stat()
            mtime = f"{stat.st_mtime_ns // 10**9}.{stat.st_mtime_ns % 10**9:09}".rstrip("0")
            kept = {name: value for name, value in facts.metadata.items() if name in ("mtime", "mode")}
            self.expect(f"time and mode of {key}", kept, {"mtime": mtime, "mode": str(stat.st_mode)})
            if path.name in TYPES:
                self.expect(f"the type of {key}", facts.content_type, TYPES[path.name])
        self.expect("what was sent again", self.counts("cp", "-r", source, f"{self.uri}/up"), (0, len(files), 0))
        back = self.folder / "back"
        self.expect("what came back", self.counts("cp", "-r", f"{self.uri}/up/", back), (len(files), 0, 0))
        for key, path in files.items():
            other = back / key.removeprefix("up/")
            self.expect(f"the bytes of {key} that came back", other.read_bytes(), path.read_bytes())
            stats = [(stat.st_mtime_ns, stat.st_mode) for stat in (other.stat(), path.stat())]
            self.expect(f"time and mode of {key} that came back", stats[0], stats[1])
        return files

    def fetched(self):
        target, expected = self.folder / "down", {}
        facts = Facts(0, "text/x-mine", "max-age=60", {"mtime": "1700000000.123456789"})
        for name in NAMES:
            expected[name] = name.encode() * 100
            self.client.put(f"down/{name}", expected[name], facts)
        for size in SIZES:
            path, name = self.folder / "sent-by-client", f"sub/{size}"
            expected[name] = os.urandom(size)
            path.write_bytes(expected[name])
            self.client.upload(f"down/{name}", path, facts)
        self.client.put("downer", b"no file of that directory")
        self.expect("what was fetched", self.counts("cp", "-r", f"{self.uri}/down", target), (len(expected), 0, 0))
        found = {str(path.relative_to(target)): path for path in self.files(target)}
        self.expect("the names that were fetched", sorted(found), sorted(expected))
        for name, path in found.items():
            self.expect(f"the bytes of {name} that was fetched", path.read_bytes(), expected[name])
            self.expect(f"the time of {name}", path.stat().st_mtime_ns, TIME_NS)
        self.client.put("down/plain", b"replaced")
        self.client.delete("down/~t")
        changed = self.counts("sync", "--delete", f"{self.uri}/down", target)
        self.expect("what a sync did", changed, (1, len(expected) - 2, 1))
        self.expect("what was replaced", (target / "plain").read_bytes(), b"replaced")
        self.expect("what was deleted", (target / "~t").exists(), False)
        # Of one size, and with the time that it had: only the bytes tell.
        (target / "plain").write_bytes(b"REPLACED")
        os.utime(target / "plain", ns=(TIME_NS, TIME_NS))
        self.ran("sync", "--checksum", f"{self.uri}/down", target)
        self.expect("what only its bytes told", (target / "plain").read_bytes(), b"replaced")

    def between(self, files):
        copied = self.counts("cp", "-r", f"{self.uri}/up", f"{self.uri}/again")
        self.expect("what was copied between two prefixes", copied, (len(files), 0, 0))
        for key, path in files.items():
            self.stored(key.replace("up/", "again/", 1), path.read_bytes())
        self.client.put("again/extra", b"extra")
        synced = self.counts("sync", "--delete", f"{self.uri}/up", f"{self.uri}/again")
        self.expect("what a sync between two prefixes did", synced, (0, len(files), 1))
        self.ran("rm", "-r", f"{self.uri}/again")
        self.expect("what rm left", self.client.keys("again/"), [])
        self.expect("what it was not told to delete", self.client.keys("up/"), sorted(files))

    def run(self):
        files = self.sent()
        self.fetched()
        self.between(files)
        print(f"copies: {self.server}, {self.client.name}: {self.compared} comparisons, 0 differences")


Copies(*sys.argv[1:]).run()
