#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# VHD files go back and forth between us and qemu-img: what one writes the other reads, also after our
# side was killed.
#
#   vhd_interop.sh IMGTOOL
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

imgtool=$(realpath "$1")
needs qemu-img qemu-io
begin

same_size() {
	ours=$("$imgtool" -r "$1" info) || fail "$what: $ours"
	case $ours in
	"vhd size $(qemu_size "$1") "*) ;;
	*) fail "$what: QEMU says $(qemu_size "$1"), we $ours" ;;
	esac
}

# Our random requests on a VHD and on a raw file of the same size give the same disk, to QEMU too.
written_by_us() {
	what="size $1 $2 $3"
	rm -f ours.vhd twin.raw
	qemu-img create -q -f vpc -o "$2" ours.vhd "$1"
	same_size ours.vhd
	truncate -s "$(qemu_size ours.vhd)" twin.raw
	for requests in "random:1:80 f random:2:30" "random:3:30"; do
		"$imgtool" $3 ours.vhd $requests || fail "$what"
		"$imgtool" -f raw twin.raw $requests || fail "$what"
		qemu-img compare -q -f vpc -F raw ours.vhd twin.raw || fail "compare: $what"
	done
}

# QEMU writes, we read; then we write and QEMU goes on, in turn.
written_by_qemu() {
	what="qemu-io, size $1 $2"
	rm -f qemu.vhd
	qemu-img create -q -f vpc -o "$2" qemu.vhd "$1"
	qemu-io -f vpc -c 'write -q -P 0x11 0 64k' -c 'write -q -P 0x22 3000k 2000k' \
		-c 'write -q -P 0x33 512 512' qemu.vhd || fail "$what"
	"$imgtool" -r qemu.vhd v:0:512:0x11 v:512:512:0x33 v:1K:63K:0x11 v:64K:2936K:0 \
		v:3000K:2000K:0x22 v:5000K:5M:0 || fail "$what"
	"$imgtool" qemu.vhd w:600K:8K:0x44 w:20M:5M:0x45 || fail "$what"
	qemu-io -f vpc -c 'write -q -P 0x55 604k 64k' -c 'write -q -P 0x56 40M 3M' qemu.vhd || fail "$what"
	"$imgtool" qemu.vhd v:600K:4K:0x44 v:604K:64K:0x55 v:20M:5M:0x45 v:40M:3M:0x56 \
		w:60M:1M:0x57 || fail "$what"
	qemu-io -r -f vpc -c 'read -q -P 0x44 600k 4k' -c 'read -q -P 0x55 604k 64k' \
		-c 'read -q -P 0x45 20M 5M' -c 'read -q -P 0x56 40M 3M' -c 'read -q -P 0x57 60M 1M' \
		-c 'read -q -P 0 61M 3M' qemu.vhd > out.txt || fail "$what"
	grep -q "verification failed" out.txt && fail "$what: $(cat out.txt)" || true
}

huge() {
	what="huge"
	rm -f huge.vhd
	qemu-img create -q -f vpc -o force_size=on huge.vhd 2040G
	same_size huge.vhd
	"$imgtool" huge.vhd w:2039G:5M:0x71 f w:1027G:3M:0x72 w:20G:1K:0x73 v:2000G:1M:0 || fail "$what"
	qemu-io -r -f vpc -c 'read -q -P 0x71 2039G 5M' -c 'read -q -P 0x72 1027G 3M' \
		-c 'read -q -P 0x73 20G 1k' -c 'read -q -P 0 2000G 1M' huge.vhd > out.txt || fail "$what"
	grep -q "verification failed" out.txt && fail "$what: $(cat out.txt)" || true
}

# Killed at any point, what was flushed is there, for us and for QEMU.
killed() {
	what="killed"
	rm -f killed.vhd copy.vhd
	qemu-img create -q -f vpc -o force_size=on killed.vhd 3G
	"$imgtool" killed.vhd w:10M:3M:0x61 w:2G:1M:0x62 f w:40M:1M:0x63 f w:1G:8M:0x64 die && fail "not killed"
	cp --sparse=always killed.vhd copy.vhd
	"$imgtool" -r killed.vhd v:10M:3M:0x61 v:2G:1M:0x62 v:40M:1M:0x63 v:60M:1M:0 || fail "$what"
	cmp killed.vhd copy.vhd || fail "$what: a read-only open wrote"
	qemu-io -f vpc -c 'read -q -P 0x61 10M 3M' -c 'read -q -P 0x62 2G 1M' -c 'read -q -P 0x63 40M 1M' \
		-c 'write -q -P 0x66 1500M 1M' copy.vhd > out.txt || fail "$what"
	grep -q "verification failed" out.txt && fail "$what: $(cat out.txt)"
	"$imgtool" copy.vhd v:10M:3M:0x61 v:1500M:1M:0x66 w:2700M:1M:0x67 || fail "$what"
	"$imgtool" killed.vhd v:10M:3M:0x61 v:2G:1M:0x62 v:40M:1M:0x63 w:2500M:1M:0x65 || fail "$what"
	"$imgtool" -r killed.vhd v:2500M:1M:0x65 v:2501M:10M:0 v:2G:1M:0x62 || fail "$what"
	qemu-io -r -f vpc -c 'read -q -P 0x65 2500M 1M' -c 'read -q -P 0 2501M 10M' killed.vhd > out.txt || fail "$what"
	grep -q "verification failed" out.txt && fail "$what: $(cat out.txt)" || true
}

for options in subformat=dynamic subformat=fixed; do
	for size in 1M 99M 1111M; do
		written_by_us $size $options,force_size=on ""
		written_by_us $size $options ""
	done
	written_by_qemu 100M $options,force_size=on
	written_by_qemu 100M $options
done
written_by_us 300M subformat=dynamic,force_size=on -d
written_by_us 50M subformat=fixed,force_size=on -d
huge
killed
echo "all VHD files agree"
