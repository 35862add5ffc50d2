#!/bin/sh
# Make an installed folder ready to ship, the same bytes on every build: seal.sh FOLDER
# Bytecode is compiled here because a read-only root file system cannot hold it later; it is checked by hash, not by
# time stamp, and every time stamp is set to one moment (SOURCE_DATE_EPOCH, 1980-01-01 when unset).
set -eu
folder=$1
# Packages ship their own tests, a sixth of the slim image.
find "$folder" -depth -type d -name tests -exec rm -rf {} +
# Some packages carry test data that is broken Python on purpose; -q -q keeps quiet about files that do not compile.
python3 -m compileall -q -q -j 0 --invalidation-mode unchecked-hash "$folder" || true
find "$folder" -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-315532800}" {} +
