"""Two hosts on one machine: namespaces with processes, network and address of their own, and one file system.

What runs there cannot see, stop or reach any other Ray on the machine; nothing else could prove scripts that
say `ray stop`. Needs root and Linux.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from pathlib import Path

# In place of the programs of a cluster, on PATH: each enters the host that it would reach over the network.
_ENTER = """\
#!/usr/bin/env bash
# enter HOST COMMAND...: run a command on a host
host=$1; shift
export TEST_IP; TEST_IP=$(cat "$TEST_HOSTS/$host.ip")
exec nsenter --target "$(cat "$TEST_HOSTS/$host.pid")" --net --pid --mount --wdns="$PWD" -- "$@"
"""
_SSH = """\
#!/usr/bin/env bash
[ "$1 $2" = "-o BatchMode=yes" ] || exit 9
export HOME="$TEST_HOSTS/$3.home"
enter "$3" bash -c "$4"
"""
_SRUN = """\
#!/usr/bin/env bash
only=
while [[ $1 == --* ]]; do
  case $1 in --nodelist=*) only=${1#*=} ;; esac
  shift
done
if [ -n "$only" ]; then exec enter "$only" "$@"; fi
pids=()
trap 'kill -TERM "${pids[@]}"' TERM
for host in one two; do enter "$host" "$@" & pids+=($!); done
wait "${pids[0]}"; code=$?
kill -TERM "${pids[1]}" 2>/dev/null  # --wait is over
exit $code
"""
_SCONTROL = """\
#!/usr/bin/env bash
case "$1 $2" in
  "show hostnames") printf 'one\\ntwo\\n' ;;
  "show job") echo "JobId=$3 JobState=RUNNING Reason=None" ;;
  "requeue "*) echo "$2" >>"$TEST_HOSTS/requeued" ;;
esac
"""
_HOSTNAME = """\
#!/usr/bin/env bash
case $1 in
  --ip-address) echo 127.0.1.1 ;;  # as on Debian
  *) echo "$TEST_IP fe80::1" ;;
esac
"""
_PROGRAMS = {"enter": _ENTER, "ssh": _SSH, "srun": _SRUN, "scontrol": _SCONTROL, "hostname": _HOSTNAME}

_INIT = "trap : CHLD; while :; do sleep 1; done"  # process 1 of a host: takes up its orphans


def can_make_hosts():
    """Whether this machine lets us."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return False
    return (
        subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], check=False, capture_output=True).returncode
        == 0
    )


@contextmanager
def two_hosts(folder: Path):
    """Hosts `one` and `two`, connected.

    Yields:
        The environment in which `ssh`, `srun` and `scontrol` reach them.
    """
    for name, text in _PROGRAMS.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(textwrap.dedent(text))
        program.chmod(0o755)
    number = random.randrange(1, 250)
    with ExitStack() as hosts:
        pids = [hosts.enter_context(_host()) for _ in range(2)]
        ends = [f"ccar{os.getpid() % 100_000}{side}" for side in "ab"]
        subprocess.run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=True)
        for index, (name, pid, end) in enumerate(zip(("one", "two"), pids, ends, strict=True), start=1):
            address = f"10.213.{number}.{index}"
            subprocess.run(["ip", "link", "set", end, "netns", str(pid)], check=True)
            inside = f"ip link set lo up; ip addr add {address}/24 dev {end}; ip link set {end} up"
            inside += f"; ip route add default dev {end}"  # else Ray finds no address of its own
            subprocess.run(["nsenter", "--target", str(pid), "--net", "--", "sh", "-ec", inside], check=True)
            (folder / f"{name}.ip").write_text(address)
            (folder / f"{name}.pid").write_text(str(pid))
            (folder / f"{name}.link").write_text(end)
            (folder / f"{name}.home").mkdir()
        path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        yield {**os.environ, "TEST_HOSTS": str(folder), "PATH": path}


def cut(folder: Path, host: str):
    """Take a host off the network."""
    _ip(folder, host, "ip link set $link down")


def heal(folder: Path, host: str):
    """Bring it back."""
    _ip(folder, host, "ip link set $link up; ip route add default dev $link")


def _ip(folder: Path, host: str, script: str):
    pid, link = ((folder / f"{host}.{name}").read_text() for name in ("pid", "link"))
    command = ["nsenter", "--target", pid, "--net", "--", "sh", "-ec", script]
    subprocess.run(command, env={**os.environ, "link": link}, check=True)


@contextmanager
def _host():
    """A namespace with a process 1 of its own, whose number here is yielded; at the end all in it is killed."""
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", _INIT]
    with subprocess.Popen(command, start_new_session=True) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            while not (found := children.read_text().split()):
                assert outer.poll() is None
            while Path(f"/proc/{found[0]}/comm").read_text().strip() != "bash":  # has mounted its /proc by then
                assert outer.poll() is None
            yield int(found[0])
        finally:
            outer.kill()
