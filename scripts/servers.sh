# Sourced by scripts that run something against real servers: start_server NAME starts one on a free port, and sets
# - `endpoint`, its URL;
# - `scheme_of` (s3, gs, r2, cos or az) and `bucket_uri BUCKET`, the URI of a bucket of it;
# - in the environment, where it is and with which credentials it is asked, as the store's own tools have it;
# stop_server ends it. What a server needs is in the folder `dir` of the caller.
#
# There are rgw, moto, azurite and fake-gcs-server, and the development server as S3 (devserver), as other stores (gcs, r2, ibm), and as
# servers that differ (the names of its quirks, and ceph, for those of Ceph together). Tools that are no packages of Debian are installed
# under target/tools, at pinned versions: moto and the stores' own clients (by pip), azurite (npm), fake-gcs-server (go); what rgw needs: scripts/setup test.

target=${CARGO_TARGET_DIR:-$PWD/target}
python=$target/tools/clients/bin/python
server_pid='' endpoint='' scheme_of=''
quirks=(ignore_write_conditions no_list_etags folds_slashes etag_not_ascii refuses_checksums)
quirks_of_ceph=(ignore_complete_conditions ignore_delete_conditions unquoted_if_match no_complete_etag no_part_copy no_checksums)
devserver_modes=(devserver gcs r2 ibm "${quirks[@]}" ceph)
other_servers=(rgw moto fake-gcs-server azurite)

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

# The stores' own clients, for Python.
install_clients() {
  ! "$python" -c 'import boto3, ibm_boto3, google.cloud.storage, azure.storage.blob' 2>/dev/null || return 0
  python3 -m venv --clear "$target/tools/clients"
  "$target/tools/clients/bin/pip" install --quiet 'boto3==1.44.*' 'ibm-cos-sdk==2.16.*' 'google-cloud-storage==3.17.*' 'azure-storage-blob==12.31.*'
}

# The last one that runs on the Node.js of Debian 12 and of Ubuntu 24.04.
azurite_version=3.35.0
install_azurite() {
  [ ! -x "$target/tools/azurite/node_modules/.bin/azurite-blob" ] || return 0
  npm install --silent --no-fund --no-audit --prefix "$target/tools/azurite" "azurite@$azurite_version" >&2
}

fake_gcs_server_version=1.56.1
install_fake_gcs_server() {
  [ ! -x "$target/tools/fake-gcs-server/fake-gcs-server" ] || return 0
  GOBIN=$(realpath -m "$target/tools/fake-gcs-server") go install \
    "github.com/fsouza/fake-gcs-server@v$fake_gcs_server_version" >&2
}

install_servers() { # all servers and clients that this machine can have
  install_clients
  install_moto
  ! can_run azurite || install_azurite
  ! can_run fake-gcs-server || install_fake_gcs_server
}

check_servers() { # check_servers NAME…: before the first is started
  local server
  for server in "$@"; do
    case " ${devserver_modes[*]} ${other_servers[*]} " in
      *" $server "*) ;;
      *)
        echo "$(basename "$0"): no server $server; there are ${other_servers[*]} ${devserver_modes[*]}" >&2
        exit 2
        ;;
    esac
  done
}

can_run() { # can_run NAME: whether this machine has what the server is installed by; says so where it has not
  local needed
  case $1 in
    fake-gcs-server) needed=go ;;
    azurite) needed=npm ;;
    *) return 0 ;;
  esac
  [ ! -d "$target/tools/$1" ] || return 0
  command -v "$needed" >/dev/null && return 0
  echo "skipped: $1: $needed is not there" >&2
  return 1
}

# Nothing of the caller's own store may be met.
forget_stores() {
  local variable
  for variable in $(compgen -e | grep -E '^(AWS|R2|CLOUDFLARE|IBM|IC|IBMCLOUD|GOOGLE|CLOUDSDK|AZURE|STORAGE_EMULATOR)_'); do
    unset "$variable"
  done
}

start_server() {
  local log=$dir/$1.log how=(start_${1//-/_})
  forget_stores
  case " ${quirks[*]} " in *" $1 "*) how=(start_quirk "$1") ;; esac
  "${how[@]}" 2>"$log" || { cat "$log" >&2; echo "$(basename "$0"): $1 did not start" >&2; exit 1; }
}

bucket_uri() { # bucket_uri BUCKET
  case $scheme_of in
    cos) echo "cos://eu-de/$1" ;;
    az) echo "az://devstoreaccount1/$1" ;;
    *) echo "$scheme_of://$1" ;;
  esac
}

as_s3() {
  scheme_of=s3
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest AWS_REGION=us-east-1 AWS_ENDPOINT_URL=$endpoint
}

as_gcs() {
  scheme_of=gs
  export STORAGE_EMULATOR_HOST=$endpoint GOOGLE_CLOUD_PROJECT=pail-test
}

serve() { # serve QUIRK…: a development server with these quirks
  local quirk arguments=()
  for quirk in "$@"; do arguments+=(--quirk "$quirk"); done
  rm -f "$dir/endpoint"
  mkfifo "$dir/endpoint"
  "$target/release/pail" dev-server "${arguments[@]}" >"$dir/endpoint" &
  server_pid=$!
  read -r endpoint <"$dir/endpoint"
}

start_devserver() { serve && as_s3; }
start_gcs() { serve && as_gcs; }
start_r2() {
  serve r2 || return
  scheme_of=r2
  export R2_ACCESS_KEY_ID=test R2_SECRET_ACCESS_KEY=testtest R2_ENDPOINT_URL=$endpoint
}
# With tokens for an API key, which is the development server's secret.
start_ibm() {
  serve ibm || return
  scheme_of=cos
  export IBM_API_KEY_ID=testtest IBM_SERVICE_INSTANCE_ID=crn:v1:instance
  export IBM_COS_ENDPOINT=$endpoint IBM_AUTH_ENDPOINT=$endpoint
}
start_quirk() { serve "$1" && as_s3; }
start_ceph() { serve "${quirks_of_ceph[@]}" && as_s3; }

start_rgw() {
  RGW_PORT=$(free_port) RGW_MON_PORT=$(free_port)
  export RGW_PORT RGW_MON_PORT
  endpoint=http://127.0.0.1:$RGW_PORT
  scripts/rgw up "$dir/rgw" || return
  as_s3
}

start_moto() {
  local port
  install_moto
  port=$(free_port) endpoint=http://127.0.0.1:$port
  "$target/tools/moto/bin/moto_server" -H 127.0.0.1 -p "$port" >&2 &
  server_pid=$!
  listens "$port" && as_s3
}

start_azurite() {
  local port
  install_azurite
  port=$(free_port) endpoint=http://127.0.0.1:$port scheme_of=az
  node "$target/tools/azurite/node_modules/.bin/azurite-blob" --inMemoryPersistence --blobPort "$port" \
    --skipApiVersionCheck --disableTelemetry --silent >&2 &
  server_pid=$!
  listens "$port" || return
  export AZURE_STORAGE_USE_EMULATOR=true AZURE_STORAGE_ENDPOINT=$endpoint
}

start_fake_gcs_server() {
  local port
  install_fake_gcs_server
  port=$(free_port) endpoint=http://127.0.0.1:$port
  "$target/tools/fake-gcs-server/fake-gcs-server" -scheme http -backend memory -host 127.0.0.1 -port "$port" \
    -public-host "127.0.0.1:$port" >&2 &
  server_pid=$!
  listens "$port" && as_gcs
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
