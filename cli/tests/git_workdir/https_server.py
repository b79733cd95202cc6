"""A git server over HTTPS for tests: `git http-backend` behind Basic authentication.

usage: https_server.py ROOT CERT KEY [ADDRESS], with {"token": …, "user": …} as one line on standard input. Prints its port. Ends with standard input.

ROOT/r.git is at /r.git (with the token) and /public/r.git (without). /v0/r.git speaks the old protocol, in which a commit that no ref names
is refused. /denied/ is 403, /absent/ is 404, /moved/ redirects to the URL in the file ROOT/moved. While the file ROOT/hold is there, a fetch
waits. ROOT/requests gets a line for each request: method, path, and the user name it came with, or "-".
"""

import base64, http.server, json, os, ssl, subprocess, sys, threading, time

root, cert, key = sys.argv[1:4]
expected = json.loads(sys.stdin.readline())
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *_):
        pass

    def answer(self, code, headers=(), body=b""):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def user_and_password(self):
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return base64.b64decode(value).decode().split(":", 1) if kind == "Basic" else ["-", None]

    def handle_git(self):
        path, _, query = self.path.partition("?")
        user, password = self.user_and_password()
        with lock, open(root + "/requests", "a") as log:
            log.write(f"{self.command} {path} {user}\n")
        if path.startswith("/denied/"):
            return self.answer(403)
        if path.startswith("/absent/"):
            return self.answer(404)
        if path.startswith("/moved/"):
            return self.answer(301, [("Location", open(root + "/moved").read() + self.path[len("/moved/"):])])
        open_to_all = path.startswith("/public/")
        if not open_to_all and password != expected["token"]:
            return self.answer(401, [("WWW-Authenticate", 'Basic realm="git"')])
        if self.command == "POST" and os.path.exists(root + "/hold"):
            with open(root + "/holding", "w"):
                pass
            while os.path.exists(root + "/hold"):
                time.sleep(0.02)
        name = path.removeprefix("/public").removeprefix("/v0")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": root, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": name, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "REMOTE_ADDR": "127.0.0.1",
               "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        if not path.startswith("/v0/"):
            env["HTTP_GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        result = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True).stdout
        head, _, body = result.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self.answer(int(status.split()[0]), [pair for pair in headers if pair[0] != "Status"], body)

    do_GET = do_POST = handle_git


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # A client that was killed.


server = Server((sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
