# Sourced by scripts that run something against real servers: start_server NAME sets `endpoint`, stop_server ends it.
# There are devserver, rgw, moto, azurite and fake-gcs-server, on free ports, with the keys test / testtest. What a server needs is in the
# folder `dir` of the caller; moto, with boto3, is installed under target/tools/moto, azurite (by npm) under target/tools/azurite,
# fake-gcs-server (by go) under target/tools/fake-gcs-server; the packages of rgw: scripts/setup test. azurite speaks Azure's API, with the
# account and the key that every emulator has, fake-gcs-server Google Cloud Storage's, without credentials.

target=${CARGO_TARGET_DIR:-$PWD/target}
python=$target/tools/moto/bin/python
server_pid= endpoint=

# Below the ports that the kernel gives to clients.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

install_moto() {
  # One that came from another folder runs no more.
  ! "$target/tools/moto/bin/moto_server" --help >/dev/null 2>&1 || return 0
  python3 -m venv --clear "$target/tools/moto"
  "$target/tools/moto/bin/pip" install --quiet 'moto[server]==5.2.*'
}

install_azurite() {
  ! "$target/tools/azurite/node_modules/.bin/azurite-blob" --version >/dev/null 2>&1 || return 0
  command -v npm >/dev/null || { echo "azurite needs npm" >&2; return 1; }
  npm install --silent --no-fund --no-audit --prefix "$target/tools/azurite" 'azurite@^3.35' >&2
}

install_fake_gcs_server() {
  [ -x "$target/tools/fake-gcs-server/fake-gcs-server" ] ||
    GOBIN=$target/tools/fake-gcs-server go install github.com/fsouza/fake-gcs-server@v1.56.1
}

# Why a server cannot be had on this machine; nothing where it can.
missing_for() {
  case $1 in
    fake-gcs-server)
      [ -x "$target/tools/fake-gcs-server/fake-gcs-server" ] || command -v go >/dev/null || echo "there is no go to build it" ;;
  esac
}

check_servers() { # check_servers NAME…: before the first is started
  local server
  for server in "$@"; do
    case $server in
      devserver | rgw | moto | azurite | fake-gcs-server) ;;
      *) echo "$(basename "$0"): no server $server; there are devserver, rgw, moto, azurite and fake-gcs-server" >&2; exit 2 ;;
    esac
  done
}

start_server() {
  local log=$dir/$1.log
  "start_$1" 2>"$log" || { cat "$log" >&2; echo "$(basename "$0"): $1 did not start" >&2; exit 1; }
}

start_devserver() {
  rm -f "$dir/endpoint"
  mkfifo "$dir/endpoint"
  "$target/release/pail" dev-server >"$dir/endpoint" &
  server_pid=$!
  read -r endpoint <"$dir/endpoint"
}

start_rgw() {
  RGW_PORT=$(free_port) RGW_MON_PORT=$(free_port)
  export RGW_PORT RGW_MON_PORT
  endpoint=http://127.0.0.1:$RGW_PORT
  scripts/rgw up "$dir/rgw"
}

start_moto() {
  local port
  install_moto
  port=$(free_port) endpoint=http://127.0.0.1:$port
  "$target/tools/moto/bin/moto_server" -H 127.0.0.1 -p "$port" >&2 &
  server_pid=$!
  listens "$port"
}

start_azurite() {
  local port
  install_azurite
  port=$(free_port) endpoint=http://127.0.0.1:$port
  node "$target/tools/azurite/node_modules/.bin/azurite-blob" --inMemoryPersistence --blobPort "$port" \
    --skipApiVersionCheck --disableTelemetry --silent >&2 &
  server_pid=$!
  listens "$port"
}

start_fake-gcs-server() {
  local port
  install_fake_gcs_server
  port=$(free_port) endpoint=http://127.0.0.1:$port
  "$target/tools/fake-gcs-server/fake-gcs-server" -scheme http -backend memory -host 127.0.0.1 -port "$port" \
    -public-host "127.0.0.1:$port" >&2 &
  server_pid=$!
  listens "$port"
}

listens() { # listens PORT: waits for the server there
  for _ in $(seq 300); do
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  return 1
}

stop_server() {
  if [ -n "$server_pid" ]; then
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
  fi
  [ ! -d "$dir/rgw" ] || scripts/rgw down "$dir/rgw"
}
