#!/bin/sh
# Print what images weigh, in MB, and how much of it the base does not bring: sizes.sh IMAGE...
set -eu
engine=${ENGINE:-docker}
printf '%-40s %8s %12s\n' image MB 'above base'
for image in "$@"; do
    bytes=$("$engine" image inspect --format '{{.Size}}' "$image")
    # The two COPY layers that the Dockerfile adds: dependencies and application.
    added=$("$engine" history --no-trunc --human=false --format '{{.Size}} {{.CreatedBy}}' "$image" |
        awk '/ in \/opt\/|COPY \/opt\// { sum += $1 } END { printf "%.0f", sum }')
    printf '%-40s %8d %12d\n' "$image" $((bytes / 1000000)) $((added / 1000000))
done
