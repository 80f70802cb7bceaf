# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# What the scripts of this folder share; sourced by them before they go to a folder of their own.

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# needs TOOL...: or the test is skipped.
needs() {
	for tool; do
		if ! command -v "$tool" >/dev/null; then
			echo "needs $*"
			exit 77
		fi
	done
}

# Goes to an empty folder, which goes at the end, as does the process whose number is in $holder.
begin() {
	holder=
	folder=$(mktemp -d "${TMPDIR:-/tmp}/$(basename "$0" .sh).XXXXXX")
	trap '[ -z "$holder" ] || kill "$holder" 2>/dev/null || true; rm -rf "$folder"' EXIT
	cd "$folder"
}

# status N COMMAND...: must end so; its words are in out.txt.
status() {
	wanted=$1
	shift
	got=0
	"$@" > out.txt 2>&1 || got=$?
	[ "$got" = "$wanted" ] || fail "$* ended with $got, not $wanted: $(cat out.txt)"
}

says() {
	grep -q -e "$1" out.txt || fail "'$1' is not in: $(cat out.txt)"
}

qemu_format() {
	case $1 in
	*.vhd) echo vpc ;;
	*.vhdx) echo vhdx ;;
	*) echo raw ;;
	esac
}

# What QEMU takes for the size of the disk.
qemu_size() {
	qemu-img info -f "$(qemu_format "$1")" --output=json "$1" |
		sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p' | tail -n 1
}
