#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# dsdt.sh IASL INPUT OUTPUT: compile ASL to a C array; iasl names its output itself, and talks.
set -e
trap 'rm -rf "$dir"' EXIT
dir=$(mktemp -d)
"$1" -tc -p "$dir/dsdt" "$2" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
cp "$dir/dsdt.hex" "$3"
