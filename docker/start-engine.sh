#!/bin/sh
# Make sure that a container engine answers, for continuous integration on a bare Debian machine: start-engine.sh
# Does nothing when one answers already. Exit codes: 0 an engine answers, 77 none can be started here (the reason is
# printed; callers skip the tests marked `engine`).
set -eu
skip() {
    echo "no container engine: $1" >&2
    exit 77
}
answers() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

answers && { echo "container engine: $(docker version --format '{{.Server.Version}}'), already running"; exit 0; }
[ -z "${DOCKER_HOST:-}" ] || skip "the one at DOCKER_HOST does not answer"
[ "$(id -u)" -eq 0 ] || skip "none answers, and starting dockerd needs root"

missing=
command -v dockerd >/dev/null || missing="docker.io"
command -v debootstrap >/dev/null || missing="$missing debootstrap"
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || skip "none answers, and this machine has no apt-get to install$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # two package names
    { apt-get update --quiet=2 && apt-get install --quiet=2 --no-install-recommends --yes $missing; } >/dev/null 2>&1 ||
        skip "apt-get install $missing failed"
fi

log=${TMPDIR:-/tmp}/moist-dockerd.log
# A session of its own: the engine outlives this script and whatever kills its process group.
setsid nohup dockerd >"$log" 2>&1 </dev/null &
daemon=$!
seconds=0
until answers; do
    kill -0 "$daemon" 2>/dev/null || { tail -n 3 "$log" >&2; skip "dockerd ended at once, its log is $log"; }
    [ "$seconds" -lt 60 ] || skip "dockerd does not answer after 60 seconds, its log is $log"
    sleep 1
    seconds=$((seconds + 1))
done
echo "container engine: $(docker version --format '{{.Server.Version}}'), started after $seconds s, $(docker info --format '{{.Driver}}')"
