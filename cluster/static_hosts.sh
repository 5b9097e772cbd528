#!/usr/bin/env bash
# A Ray cluster on machines that are always there, over ssh:
#
#     cluster/static_hosts.sh start hosts.txt     # one host per line, the head first; # begins a comment
#     cluster/static_hosts.sh status hosts.txt
#     cluster/static_hosts.sh stop hosts.txt
#
# CCAR_STORE, where it is set, becomes the cluster's: the folder of trials of studies that are submitted to it.
#
# Needs on every host: ssh without a password, the same environment under the same path (CCAR_ENV, default: the one
# that `ray` is in here), and the store on a shared path. All connections ask for a token; it travels over ssh, into a
# file that only you can read, and is in no command line. The dashboard with its job server stays on the head's loopback
# (the last lines say how to reach it). Ray's other ports must be open between the hosts and should be closed to
# everybody else: the token is not encrypted on its way.
#
# `stop` ends what `start` has started, by its process group, and no other Ray on the hosts (as `ray stop` would).
set -euo pipefail

usage() {
  echo "usage: $0 start|status|stop HOSTS_FILE" >&2
  exit 2
}
if [ $# -ne 2 ] || [ ! -r "$2" ]; then usage; fi
command=$1
mapfile -t hosts < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$2")
[ "${#hosts[@]}" -gt 0 ] || { echo "$2 names no host" >&2; exit 2; }

port=${CCAR_RAY_PORT:-6379}
jobs_port=${CCAR_JOBS_PORT:-8265}
environment=${CCAR_ENV:-$(dirname "$(dirname "$(command -v ray)")")}
folder=.ccar-ray # in the home directory of each host
token_file=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}

on() { # HOST SCRIPT: run a script in the home directory there; what comes in on stdin goes to it
  # shellcheck disable=SC2029  # the script is put together here, on purpose; it holds no secret
  ssh -o BatchMode=yes "$1" "set -eu; cd ~
    runs() { [ -s $folder/pid ] && kill -0 -- -\$(cat $folder/pid) 2>/dev/null; }
    $2"
}

start_node() { # HOST OPTIONS OF ray start
  local host=$1
  shift
  # Look first: with another token, what a running Ray starts from now on would be refused. The umask is for the folder
  # that the token is in, and not for Ray: its workers make files in the store, which may be for a group.
  # --block: one process that ends with its parts. setsid: a process group of its own, which `stop` ends as a whole.
  # --temp-dir: Ray opens its own folder to everybody, so there is a private one around it; short, for Ray's sockets.
  on "$host" "if runs; then echo '$host: runs already' >&2; exit 1; fi
    (umask 077; mkdir -p $folder; cat >$folder/token)
    cd $folder
    export PATH='$environment/bin':\$PATH RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=\$PWD/token
    export RAY_JOB_STOP_WAIT_TIME_S=30 # a study that is stopped needs more than Ray's 3 s to end cleanly
    # so long a host waits for a head that is gone; after Ray's 60 s, its last processes would outlive it by over a minute
    export RAY_gcs_rpc_server_reconnect_timeout_s='${RAY_gcs_rpc_server_reconnect_timeout_s:-20}'
    export CCAR_STORE='${CCAR_STORE:-}'
    mktemp -d /tmp/ccar-ray-XXXXXX >dir
    setsid nohup ray start --block --disable-usage-stats --temp-dir=\$(cat dir)/ray $* >ray.log 2>&1 </dev/null & echo \$! >pid" <"$token_file"
}

wait_for_node() { # HOST: until Ray has started there, or not
  for _ in $(seq 60); do
    on "$1" "grep -q 'Ray runtime started' $folder/ray.log" && return
    on "$1" "kill -0 \$(cat $folder/pid) 2>/dev/null" || break
    sleep 1
  done
  echo "$1: Ray has not started; its log ends with" >&2
  on "$1" "tail -n 5 $folder/ray.log" >&2
  return 1
}

case $command in
  start)
    [ -s "$token_file" ] || { echo "no token in $token_file; make one: ray get-auth-token --generate" >&2; exit 2; }
    head_ip=$(on "${hosts[0]}" "hostname -I | cut -d' ' -f1")
    start_node "${hosts[0]}" --head --node-ip-address="$head_ip" --port="$port" \
      --dashboard-host=127.0.0.1 --dashboard-port="$jobs_port"
    wait_for_node "${hosts[0]}"
    for host in "${hosts[@]:1}"; do
      start_node "$host" --address="$head_ip:$port"
    done
    code=0
    for host in "${hosts[@]:1}"; do
      wait_for_node "$host" || code=1
    done
    echo "address  $head_ip:$port"
    echo "jobs     http://127.0.0.1:$jobs_port on ${hosts[0]}; from here: ssh -N -L $jobs_port:127.0.0.1:$jobs_port ${hosts[0]}"
    echo "check    ccar doctor --address $head_ip:$port --store SHARED_FOLDER    (on ${hosts[0]})"
    exit "$code"
    ;;
  status)
    for host in "${hosts[@]}"; do
      on "$host" "if runs; then echo '$host: runs'; else echo '$host: does not run'; fi"
    done
    ;;
  stop)
    for ((i = ${#hosts[@]} - 1; i >= 0; i--)); do # the head last
      on "${hosts[i]}" "if runs; then
          kill -TERM -- -\$(cat $folder/pid) || true
          for _ in \$(seq 40); do runs || break; sleep 0.25; done
          kill -KILL -- -\$(cat $folder/pid) 2>/dev/null || true
        fi
        if [ -s $folder/dir ]; then rm -rf \"\$(cat $folder/dir)\"; fi
        rm -rf $folder; echo '${hosts[i]}: stopped'"
    done
    ;;
  *) usage ;;
esac
