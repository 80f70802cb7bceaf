#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# VHDX files go back and forth between us and qemu-img: what one writes the other reads, and
# `qemu-img check` finds no fault, also after our side was killed.
#
#   vhdx_interop.sh IMGTOOL
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

imgtool=$(realpath "$1")
needs qemu-img qemu-io
begin

check() {
	qemu-img check -q "$1" || fail "qemu-img check $1 ($what)"
}

# Our random requests on a VHDX and on a raw file of the same size give the same disk, to QEMU too.
written_by_us() {
	what="size $1 block $2 $3 $4"
	rm -f ours.vhdx twin.raw
	qemu-img create -q -f vhdx -o "block_size=$2,subformat=$3" ours.vhdx "$1"
	truncate -s "$1" twin.raw
	"$imgtool" $4 ours.vhdx random:1:80 f random:2:30 || fail "$what"
	"$imgtool" -f raw twin.raw random:1:80 f random:2:30 || fail "$what"
	check ours.vhdx
	qemu-img compare -q -f vhdx -F raw ours.vhdx twin.raw || fail "compare: $what"
	# Once more into the file as it is now.
	"$imgtool" $4 ours.vhdx random:3:30 || fail "$what"
	"$imgtool" -f raw twin.raw random:3:30 || fail "$what"
	check ours.vhdx
	qemu-img compare -q -f vhdx -F raw ours.vhdx twin.raw || fail "compare: $what"
}

# Far beyond the first chunk, where sector bitmap entries stand between the others. (QEMU would read
# all of so large a disk to compare it.)
huge() {
	what="size $1 block $2"
	rm -f huge.vhdx
	qemu-img create -q -f vhdx -o "block_size=$2" huge.vhdx "$1"
	"$imgtool" huge.vhdx w:5000M:3M:0x71 f w:297G:40M:0x72 w:20G:1K:0x73 v:5003M:1M:0 || fail "$what"
	check huge.vhdx
	qemu-io -r -f vhdx -c 'read -q -P 0x71 5000M 3M' -c 'read -q -P 0x72 297G 40M' \
		-c 'read -q -P 0x73 20G 1k' -c 'read -q -P 0 5003M 10M' huge.vhdx > out.txt || fail "$what"
	grep -q "verification failed" out.txt && fail "$what: $(cat out.txt)"
	qemu-io -f vhdx -c 'write -q -P 0x74 200G 1M' huge.vhdx || fail "$what"
	"$imgtool" -r huge.vhdx v:200G:1M:0x74 v:297G:40M:0x72 v:20G:1K:0x73 || fail "$what"
}

# QEMU writes, we read; then we write and QEMU goes on.
written_by_qemu() {
	what="qemu-io, size $1 block $2 $3"
	rm -f qemu.vhdx
	qemu-img create -q -f vhdx -o "block_size=$2,subformat=$3" qemu.vhdx "$1"
	qemu-io -f vhdx -c 'write -q -P 0x11 0 64k' -c 'write -q -P 0x22 1000k 200k' \
		-c 'write -q -P 0x33 512 512' qemu.vhdx || fail "$what"
	"$imgtool" -r qemu.vhdx v:0:512:0x11 v:512:512:0x33 v:1K:63K:0x11 v:64K:936K:0 \
		v:1000K:200K:0x22 v:1200K:64K:0 || fail "$what"
	"$imgtool" qemu.vhdx w:600K:8K:0x44 v:1000K:200K:0x22 || fail "$what"
	qemu-io -f vhdx -c 'write -q -P 0x55 604k 64k' qemu.vhdx || fail "$what"
	"$imgtool" -r qemu.vhdx v:600K:4K:0x44 v:604K:64K:0x55 || fail "$what"
	check qemu.vhdx
}

# Killed at any point, what was flushed is there and the file is sound.
killed() {
	what="killed, block $1"
	rm -f killed.vhdx copy.vhdx
	qemu-img create -q -f vhdx -o "block_size=$1" killed.vhdx 3G
	"$imgtool" killed.vhdx w:10M:3M:0x61 w:2G:1M:0x62 f w:40M:1M:0x63 f w:1G:8M:0x64 die && fail "not killed"
	cp --sparse=always killed.vhdx copy.vhdx
	cp --sparse=always killed.vhdx still.vhdx
	# Read-only: the log is replayed in memory, the file stays as it is.
	"$imgtool" -r killed.vhdx v:10M:3M:0x61 v:2G:1M:0x62 v:40M:1M:0x63 v:60M:1M:0 || fail "$what"
	cmp killed.vhdx still.vhdx || fail "$what: a read-only open wrote"
	# QEMU replays our log.
	qemu-img check -q -r all copy.vhdx || fail "$what: qemu-img check -r all"
	"$imgtool" -r copy.vhdx v:10M:3M:0x61 v:2G:1M:0x62 v:40M:1M:0x63 || fail "$what"
	# So do we.
	"$imgtool" killed.vhdx v:10M:3M:0x61 v:2G:1M:0x62 v:40M:1M:0x63 w:2500M:1M:0x65 || fail "$what"
	check killed.vhdx
	"$imgtool" -r killed.vhdx v:2500M:1M:0x65 v:2501M:10M:0 v:2G:1M:0x62 || fail "$what"
}

# However full the log is, and however often it has begun anew, QEMU gets through it. An entry has two
# sectors, every $2nd has three.
killed_after() {
	what="killed after $1 flushes ($2)"
	rm -f killed.vhdx
	qemu-img create -q -f vhdx -o block_size=1M killed.vhdx 2G
	last=$(($1 - 1))
	commands=$(for i in $(seq 0 $last); do
		echo "w:${i}M:512:$((i % 256))"
		[ $((i % $2)) != $(($2 - 1)) ] || echo "w:$((700 + i / $2))M:512:1"
		echo f
	done)
	"$imgtool" killed.vhdx $commands die && fail "not killed"
	timeout 60 qemu-img check -q -r all killed.vhdx || fail "$what: qemu-img check -r all"
	"$imgtool" -r killed.vhdx "v:${last}M:512:$((last % 256))" v:0:512:0 v:100M:512:100 || fail "$what"
}

# One opens it, the other is refused, whoever comes first.
locked() {
	what="locks"
	rm -f locked.vhdx
	qemu-img create -q -f vhdx locked.vhdx 100M
	mkfifo ready
	"$imgtool" locked.vhdx sleep > ready &
	holder=$!
	read -r line < ready
	qemu-io -f vhdx -c 'write -q 0 4k' locked.vhdx 2>/dev/null && fail "QEMU wrote to a file we write"
	"$imgtool" locked.vhdx 2> error.txt && fail "opened twice for writing"
	"$imgtool" -r locked.vhdx 2>/dev/null && fail "read while it is written"
	grep -q "in use by .*process $holder" error.txt || fail "the holder is not named: $(cat error.txt)"
	kill "$holder"
	wait "$holder" || true
	"$imgtool" -r locked.vhdx sleep > ready &
	holder=$!
	read -r line < ready
	qemu-io -f vhdx -c 'write -q 0 4k' locked.vhdx 2>/dev/null && fail "QEMU wrote to a file we read"
	qemu-img info locked.vhdx > /dev/null || fail "QEMU cannot read what we read"
	"$imgtool" -r locked.vhdx || fail "two readers"
	kill "$holder"
	wait "$holder" || true
}

other_formats() {
	what="unsupported"
	qemu-img create -q -f qcow2 some.qcow2 10M
	"$imgtool" some.qcow2 2> error.txt && fail "took a qcow2 for raw"
	grep -q QCOW2 error.txt || fail "does not name qcow2"
}

for block in 1M 2M 8M 32M 256M; do
	written_by_us 1M $block dynamic ""
	written_by_us 99M $block dynamic ""
	written_by_qemu 100M $block dynamic
done
written_by_us 1111M 1M dynamic ""
written_by_us 40M 1M fixed ""
written_by_us 70M 32M fixed ""
written_by_us 300M 2M dynamic -d
written_by_qemu 70M 32M fixed
huge 500G 1M
huge 300G 32M
huge 64T 256M
killed 1M
killed 32M
for flushes in 117 118 119 120 137 235 236 237 238; do
	killed_after $flushes 7
done
for flushes in 126 127 128 254 255; do
	killed_after $flushes 1000
done
locked
other_formats
echo "all VHDX files agree"
