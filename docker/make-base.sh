#!/bin/sh
# Make a Python base image where no image can be pulled: make-base.sh [NAME:TAG]    (default moist-base:bookworm)
# Debian's own python3 from the mirror that apt uses, plus this machine's list of certificate authorities, so that pip
# inside works behind a proxy that re-signs TLS. Needs root, debootstrap and a running engine; takes about a minute.
set -eu
image=${1:-moist-base:bookworm}
suite=${SUITE:-bookworm}
engine=${ENGINE:-docker}

command -v debootstrap >/dev/null || { echo "make-base.sh: debootstrap is missing: apt-get install debootstrap" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "make-base.sh: debootstrap needs root: run it with sudo" >&2; exit 2; }
"$engine" info >/dev/null 2>&1 || { echo "make-base.sh: no container engine answers: docker/start-engine.sh" >&2; exit 2; }

mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$suite" '$2 == suite { print $1; exit }')}
root=$(mktemp -d "${TMPDIR:-/var/tmp}/moist-base.XXXXXX")
trap 'rm -rf "$root"' EXIT INT TERM
chmod 755 "$root"

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root" \
    "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; echo "make-base.sh: debootstrap failed, its log is $root.log" >&2; exit 1; }
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
# What identifies this machine or only serves apt does not belong in an image.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/doc/* \
    "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/etc/hostname "$root"/etc/resolv.conf \
    "$root"/etc/apt/sources.list "$root.log"
tar --create --numeric-owner --sort=name --directory "$root" . |
    "$engine" import --change 'CMD ["python3"]' --message "debootstrap $suite" - "$image" >/dev/null
bytes=$("$engine" image inspect --format '{{.Size}}' "$image")
echo "$image: $((bytes / 1000000)) MB"
