#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# `lis disk` beside qemu-img: what one makes or converts the other finds to be the same.
#
#   disk_command.sh LIS IMGTOOL
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

lis=$(realpath "$1")
imgtool=$(realpath "$2")
needs qemu-img qemu-io
begin

allocated() {
	echo $(($(stat -c %b "$1") * 512))
}

nothing_left() {
	[ -z "$(ls | grep '\.lis-' || true)" ] || fail "$1 left $(ls | grep '\.lis-')"
}

# PATH BYTES OPTION...: QEMU finds the disk of the right size, sound and empty, and both can use it.
create() {
	path=$1 bytes=$2
	shift 2
	rm -f "$path"
	status 0 "$lis" disk create "$path" "$@"
	[ "$(qemu_size "$path")" = "$bytes" ] || fail "create $path $*: $(qemu_size "$path") bytes"
	case $path in
	*.vhdx) qemu-img check -q "$path" || fail "qemu-img check $path $*" ;;
	esac
	status 0 "$lis" disk check "$path"
	qemu-io -f "$(qemu_format "$path")" -c 'read -q -P 0 0 1M' -c 'write -q -P 0x31 512k 4k' "$path" > out.txt
	says_not_failed "$path"
	"$imgtool" "$path" v:512K:4K:0x31 v:0:512K:0 v:516K:100K:0 w:256K:4K:0x32 || fail "$path after QEMU"
	qemu-io -f "$(qemu_format "$path")" -c 'read -q -P 0x32 256k 4k' "$path" > out.txt
	says_not_failed "$path"
}

says_not_failed() {
	! grep -q "verification failed" out.txt || fail "$1: $(cat out.txt)"
}

creating() {
	create a.raw 10485760 --size 10M
	create a.vhd 10485760 --size 10
	create a.vhd 1073741824 --size 1G --block-size 512K
	create b.vhd 10485760 --size 10M --fixed
	create a.vhdx 10485760 --size 10M
	create a.vhdx 1073741824 --size 1G --block-size 1M
	create b.vhdx 10485760 --size 10M --fixed --block-size 4M
	create c.vhdx 3298534883328 --size 3T
	create d.vhd 2190433320960 --size 2040G
	[ "$(allocated b.vhd)" -ge 10485760 ] || fail "a fixed VHD has no room"
	create e.disk 10485760 --size 10M --format raw
	# QEMU has no VHDX with such sectors.
	status 0 "$lis" disk create large.vhdx --size 10M --sector-size 4096
	status 0 "$lis" disk info large.vhdx --json
	says '"logical_sector_bytes": *4096'
	status 0 "$lis" disk create odd.vhd --size 1500K
	says "rounded up to 2 MiB"
	[ "$(qemu_size odd.vhd)" = 2097152 ] || fail "odd.vhd"
}

refusing() {
	cp a.vhd before.vhd
	status 1 "$lis" disk create a.vhd --size 10M
	says "a.vhd: exists already"
	cmp a.vhd before.vhd || fail "refused, but changed"
	status 1 "$lis" disk create z.vhd --size 2041G
	says "z.vhd: .*2040 GiB"
	for name in z.vhd z.raw; do
		status 1 "$lis" disk create $name --size 10M --sector-size 4096
		says "sectors of 512 bytes"
	done
	status 2 "$lis" disk create z.vhdx --size 10M --sector-size 1024
	says "there are 512 and 4096"
	status 1 "$lis" disk create z.vhdx --size 10M --block-size 3M
	says "power of two"
	status 1 "$lis" disk create no/such/folder.vhd --size 10M
	status 2 "$lis" disk create z.vhd
	says "size"
	status 2 "$lis" disk create z --size 10M
	says "add --format"
	status 2 "$lis" disk create z.vhd --size 10M --json
	status 2 "$lis" disk create z.vhd --size 10M --format qcow2
	status 2 "$lis" disk
	status 2 "$lis" disk frobnicate
	status 1 "$lis" disk info nothing.vhd
	says "nothing.vhd: "
	status 1 "$lis" disk convert nothing.vhd z.vhd
	mkfifo ready
	"$imgtool" a.vhd sleep > ready &
	holder=$!
	read -r line < ready
	status 1 "$lis" disk create a.vhd --size 10M --force
	says "in use by .*process $holder"
	status 1 "$lis" disk info a.vhd
	says "in use by .*process $holder"
	status 1 "$lis" disk convert a.vhd z.vhd
	status 1 "$lis" disk convert a.raw a.vhd --force
	kill "$holder"
	wait "$holder" || true
	holder=
	status 1 "$lis" disk convert b.vhd b.vhd --force
	says "in use"
	[ ! -e z.vhd ] && [ ! -e z.vhdx ] || fail "something refused was made"
	status 0 "$lis" disk create a.vhd --size 20M --force
	[ "$(qemu_size a.vhd)" = 20971520 ] || fail "--force did not replace"
	nothing_left refusing
}

# FROM TO OPTION...: the same disk, and no larger than qemu-img makes it.
convert() {
	source=$1 target=$2
	shift 2
	rm -f "$target"
	status 0 "$lis" disk convert "$source" "$target" "$@"
	qemu-img compare -q -f "$(qemu_format "$source")" -F "$(qemu_format "$target")" "$source" "$target" ||
		fail "convert $source $target $*: not the same"
	case $target in
	*.vhdx) qemu-img check -q "$target" || fail "qemu-img check: convert $source $target $*" ;;
	esac
	rm -f peer
	qemu-img convert -f "$(qemu_format "$source")" -O "$(qemu_format "$target")" "$source" peer
	[ "$(allocated "$target")" -le $(($(allocated peer) + 1500000)) ] ||
		fail "convert $source $target $*: $(allocated "$target") bytes, QEMU has $(allocated peer)"
}

converting() {
	truncate -s 150M source.raw
	"$imgtool" -f raw source.raw random:7:60 w:20M:9M:0x41 w:140M:10M:0x42 w:60M:4K:0x43 w:80M:8M:0 \
		> out.txt || fail "source"
	for from in raw vhd vhdx; do
		for to in raw vhd vhdx; do
			convert source.$from to.$to
			convert source.$from fixed.$to --fixed
		done
		# The next ones to convert from: ours.
		[ $from = raw ] && cp --sparse=always to.vhd source.vhd
		[ $from = vhd ] && cp --sparse=always to.vhdx source.vhdx
	done
	qemu-img convert -f raw -O vpc -o force_size=on source.raw theirs.vhd
	qemu-img convert -f raw -O vhdx source.raw theirs.vhdx
	convert theirs.vhd to.vhdx
	convert theirs.vhdx to.vhd
	convert theirs.vhdx to.vhdx --block-size 1M
	cmp source.raw to.raw || fail "not the same bytes"
	# Empty ones of great size take a moment and no room.
	status 0 "$lis" disk create huge.vhdx --size 2000G
	status 0 "$lis" disk convert huge.vhdx huge.vhd
	[ "$(allocated huge.vhd)" -lt 20000000 ] || fail "huge.vhd has $(allocated huge.vhd) bytes"
	nothing_left converting
}

interrupting() {
	truncate -s 400M big.raw
	"$imgtool" -f raw big.raw w:0:400M:0x51 || fail "big.raw"
	"$lis" disk convert big.raw big.vhdx 2> out.txt &
	converter=$!
	tries=0
	until ls | grep -q 'big.vhdx.lis-'; do
		tries=$((tries + 1))
		[ $tries -lt 1000 ] || break
		sleep 0.002
	done
	kill -TERM $converter 2>/dev/null || true
	if wait $converter; then
		[ -e big.vhdx ] || fail "ended well without a result"
	else
		[ ! -e big.vhdx ] || fail "interrupted, and yet there"
		says "interrupted"
	fi
	nothing_left interrupting
	# So much is flushed while it goes on.
	convert big.raw big.vhd
	convert big.raw big.vhdx
	rm -f big.*
}

# FILE SIZE OLD-SIZE OPTION...: resized, it is to QEMU as the source is, made as long.
resize() {
	path=$1 size=$2 plain=$3
	shift 3
	status 0 "$lis" disk resize "$path" "$size" "$@"
	[ $# = 0 ] || says "of data behind .* were cut off"
	truncate -s "$plain" twin.raw
	[ "$(qemu_size "$path")" = "$(stat -c %s twin.raw)" ] || fail "resize $path $size: $(qemu_size "$path") bytes"
	qemu-img compare -q -f "$(qemu_format "$path")" -F raw "$path" twin.raw || fail "resize $path $size: not the same"
	case $path in
	*.vhdx) qemu-img check -q "$path" || fail "qemu-img check: resize $path $size" ;;
	esac
	status 0 "$lis" disk check "$path"
}

resizing() {
	for from in source.raw source.vhd source.vhdx fixed.vhd fixed.vhdx theirs.vhd theirs.vhdx; do
		path=copy.${from#*.}
		cp --sparse=always $from $path
		cp --sparse=always source.raw twin.raw
		resize $path 170M 170M
		resize $path +1M 171M
		qemu-io -f "$(qemu_format $path)" -c 'write -q -P 0x61 160M 4M' $path
		qemu-io -f raw -c 'write -q -P 0x61 160M 4M' twin.raw
		"$imgtool" $path w:168M:3M:0x62 w:149M:1M:0x63 || fail "$path after resize"
		"$imgtool" -f raw twin.raw w:168M:3M:0x62 w:149M:1M:0x63 || fail twin.raw
		resize $path 171M 171M
		status 1 "$lis" disk resize $path 100M
		says "loses what is behind.*--shrink"
		resize $path 100M 100M --shrink
		resize $path 200M 200M
	done
	cp --sparse=always source.vhdx copy.vhdx
	status 0 "$lis" disk resize copy.vhdx 3T
	qemu-img check -q copy.vhdx || fail "qemu-img check: 3T"
	"$imgtool" copy.vhdx w:2999G:1M:0x71 v:20M:9M:0x41 || fail "copy.vhdx of 3T"
	qemu-io -r -f vhdx -c 'read -q -P 0x71 2999G 1M' -c 'read -q -P 0x41 20M 9M' copy.vhdx > out.txt
	says_not_failed copy.vhdx
	status 1 "$lis" disk resize copy.vhdx 65T
	says "copy.vhdx: a VHDX holds at most 64 TiB"
	status 1 "$lis" disk resize source.vhd +2040G
	says "2040 GiB"
	status 2 "$lis" disk resize source.vhd
	status 2 "$lis" disk resize source.vhd much
	status 2 "$lis" disk resize source.vhd 1G --force
	status 1 "$lis" disk resize nothing.vhd 1G
}

# FILE: compacted it is the same disk, in no more room than QEMU's converting gives it.
compact() {
	cp --sparse=always "$1" copy.${1#*.}
	path=copy.${1#*.}
	cp --sparse=always source.raw twin.raw
	for zeroes in w:5M:30M:0 w:70M:60K:0 w:100M:25M:0; do
		"$imgtool" $path $zeroes || fail "$path $zeroes"
		"$imgtool" -f raw twin.raw $zeroes || fail twin.raw
	done
	qemu-img convert -f "$(qemu_format $path)" -O "$(qemu_format $path)" $path peer
	status 0 "$lis" disk compact $path
	qemu-img compare -q -f "$(qemu_format $path)" -F raw $path twin.raw || fail "compact $1: not the same"
	status 0 "$lis" disk check $path
	case $path in
	*.vhdx) qemu-img check -q $path || fail "qemu-img check: compact $1" ;;
	esac
	# The bitmap of a VHD's block has a page of its own, so that data is on whole pages.
	[ "$(allocated $path)" -le $(($(allocated peer) + 300000)) ] ||
		fail "compact $1: $(allocated $path) bytes, QEMU has $(allocated peer)"
	qemu-io -f "$(qemu_format $path)" -c 'write -q -P 0x61 10M 4M' $path
	"$imgtool" $path v:10M:4M:0x61 || fail "compact $1, then QEMU"
}

compacting() {
	for from in source.raw source.vhd source.vhdx theirs.vhd theirs.vhdx; do
		compact $from
	done
	status 1 "$lis" disk compact fixed.vhd
	says "fixed.vhd: is a fixed image"
	status 1 "$lis" disk compact fixed.vhdx
	status 1 "$lis" disk compact nothing.vhdx
	status 2 "$lis" disk compact
	status 2 "$lis" disk compact source.vhd --force
}

telling() {
	status 0 "$lis" disk info --json source.vhd
	says '"format": *"vhd"'
	says '"kind": *"dynamic"'
	says '"size_bytes": *157286400'
	says '"block_bytes": *2097152'
	status 0 "$lis" disk info source.vhdx
	says "vhdx, dynamic"
	says "150 MiB"
	status 0 "$lis" disk info source.raw
	status 0 "$lis" disk map source.vhd
	says "#"
	says "in a disk of 150 MiB"
	status 0 "$lis" disk create empty.vhdx --size 10G
	status 0 "$lis" disk map empty.vhdx
	says "0 bytes of data"
	! grep -v "one character" out.txt | grep -q "[#+-]" || fail "an empty disk has data: $(cat out.txt)"
	status 0 "$lis" disk --help
	says "Exit status"
}

# COMMAND breaks copy.$1; check must say WORDS.
damaged() {
	file=$1 words=$2
	shift 2
	cp --sparse=always "source.$file" "copy.$file"
	"$@"
	status 3 "$lis" disk check "copy.$file"
	says "$words"
}

poke() {
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# All of the three damaged entries of copy.$1's BAT are told, and nothing else.
all_told() {
	file=copy.$1 before=$(cksum < copy.$1)
	status 3 "$lis" disk check "$file"
	[ "$(grep -c "^$file: is a damaged" out.txt)" = 3 ] || fail "not three damages are told: $(cat out.txt)"
	says "block 3 "
	says "block 9 "
	says "overlap"
	status 3 "$lis" disk check --json "$file"
	says '"damaged": *true'
	says '"problem_count": *3'
	says '"problems": *\['
	status 3 "$lis" disk check --repair "$file"
	[ "$(cksum < "$file")" = "$before" ] || fail "--repair wrote to a file with lost blocks"
}

damaged_tables() {
	cp --sparse=always source.vhd copy.vhd
	poke copy.vhd $((1536 + 4 * 3)) '\0\0\0\1'
	poke copy.vhd $((1536 + 4 * 9)) '\177\377\377\370'
	dd if=source.vhd of=copy.vhd bs=4 skip=$((384 + 12)) seek=$((384 + 72)) count=1 conv=notrunc status=none
	all_told vhd
	cp --sparse=always source.vhdx copy.vhdx
	poke copy.vhdx $((3145728 + 8 * 3)) '\5\0\0\0\0\0\0\0'
	poke copy.vhdx $((3145728 + 8 * 9)) '\6\0\0\0\0\0\1\0'
	dd if=source.vhdx of=copy.vhdx bs=8 skip=$((393216 + 12)) seek=$((393216 + 72)) count=1 conv=notrunc status=none
	all_told vhdx
	for file in copy.vhd copy.vhdx; do
		cp --sparse=always "source.${file#*.}" $file
		truncate -s 8M $file
		status 3 "$lis" disk check $file
		says "and [0-9]* more"
		[ "$(wc -l < out.txt)" -lt 30 ] || fail "too many lines: $(cat out.txt)"
	done
	status 0 "$lis" disk check --json source.vhdx
	says '"damaged": *false'
	says '"problem_count": *0'
}

# Once repaired, copy.$1 is sound and the same disk as source.$1.
repaired() {
	status 0 "$lis" disk check --repair "copy.$1"
	says "copy.$1: repaired"
	status 0 "$lis" disk check "copy.$1"
	says "no damage"
	! grep -q "note:" out.txt || fail "not all is repaired: $(cat out.txt)"
	qemu-img compare -q -f "$(qemu_format copy.$1)" -F "$(qemu_format source.$1)" "copy.$1" "source.$1" ||
		fail "repaired, but not the same"
}

checking() {
	status 0 "$lis" disk check source.vhd
	status 0 "$lis" disk check source.vhdx
	status 0 "$lis" disk check source.raw
	damaged vhd "copy at its start is good" poke copy.vhd $(($(stat -c %s source.vhd) - 100)) x
	status 0 "$imgtool" copy.vhd
	status 0 "$lis" disk check copy.vhd
	damaged vhd "copy of the footer" poke copy.vhd 100 x
	damaged vhd "header is missing or was changed" poke copy.vhd 600 x
	damaged vhd "block 3 overlaps the metadata" poke copy.vhd $((1536 + 12)) '\0\0\0\1'
	damaged vhd "behind the end" truncate -s 5M copy.vhd
	damaged_tables
	damaged vhdx "region tables" poke copy.vhdx 196700 x
	damaged vhdx "behind the end" truncate -s 8M copy.vhdx
	status 3 "$lis" disk check --repair copy.vhdx
	damaged vhdx "region tables" poke copy.vhdx 196700 x
	repaired vhdx
	damaged vhdx "region tables" poke copy.vhdx 262244 x
	repaired vhdx
	damaged vhd "copy at its start is good" poke copy.vhd $(($(stat -c %s source.vhd) - 100)) x
	repaired vhd
	damaged vhd "copy of the footer" poke copy.vhd 100 x
	repaired vhd
	damaged vhdx "neither of its two headers" sh -c 'for at in 65600 131136; do
		printf x | dd of=copy.vhdx bs=1 seek=$at conv=notrunc status=none; done'
	cp --sparse=always source.vhdx copy.vhdx
	"$imgtool" copy.vhdx w:100M:3M:0x61 f w:1M:1M:1 die > out.txt 2>&1 && fail "not killed"
	status 0 "$lis" disk check copy.vhdx
	says "was not closed"
	status 0 "$lis" disk check --repair copy.vhdx
	says "copy.vhdx: repaired"
	status 0 "$lis" disk check --json copy.vhdx
	says '"damaged": *false'
	qemu-img check -q copy.vhdx || fail "qemu-img check: a log that we replayed"
	cp --sparse=always source.vhdx copy.vhdx
	poke copy.vhdx 131200 x
	status 0 "$lis" disk check --repair --json copy.vhdx
	says '"repaired": *true'
	[ "$(grep -c '"damaged"' out.txt)" = 1 ] || fail "more than one report: $(cat out.txt)"
	poke copy.vhdx 131200 x
	repaired vhdx
	cp --sparse=always source.vhd copy.vhd
	before=$(cksum < copy.vhd)
	status 0 "$lis" disk check --repair copy.vhd
	says "no damage"
	[ "$(cksum < copy.vhd)" = "$before" ] || fail "--repair changed what is sound"
}

creating
refusing
converting
resizing
compacting
interrupting
telling
checking
echo "lis disk and qemu-img agree"
