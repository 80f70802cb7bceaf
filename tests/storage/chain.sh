#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# `lis disk diff` and `merge`, chains in the other commands, and libvhdi, which reads chains of VHD and of VHDX on
# its own, where its Python binding is installed. QEMU is no judge here: it refuses differencing VHDX, and shows a
# differencing VHD without its parent.
#
#   chain.sh LIS IMGTOOL
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

lis=$(realpath "$1")
imgtool=$(realpath "$2")
begin

# libvhdi OUT CHILD PARENT...: what libvhdi reads.
libvhdi() {
	/usr/bin/python3 -c '
import pyvhdi, sys
chain = []
for path in sys.argv[2:]:
    chain.append(pyvhdi.file())
    chain[-1].open(path)
for child, parent in zip(chain, chain[1:]):
    assert child.get_parent_identifier() == parent.get_identifier()
    child.set_parent(parent)
size = chain[0].get_media_size()
with open(sys.argv[1], "wb") as out:
    for at in range(0, size, 1 << 20):
        out.write(chain[0].read_buffer(min(1 << 20, size - at)))
' "$@"
}

flat() { # IMAGE RAW
	status 0 "$lis" disk convert "$1" "$2" --format raw --force
}

# Requests here and there; of VHD in whole pages, for of a byte of a bitmap that has set and clear bits libvhdi (of
# 2021) takes the sectors for zero that are the parent's.
load() { # IMAGE SEED COUNT
	case $1 in
	*.vhdx) status 0 "$imgtool" "$1" "random:$2:$3" ;;
	*)
		requests=
		for i in $(seq "$3"); do
			requests="$requests w:$(((i * 7919 + $2 * 104729) % 10000 * 4096)):$(((i % 7 + 1) * 4096)):$((i % 250 + 1))"
		done
		# shellcheck disable=SC2086 # one argument for each
		status 0 "$imgtool" "$1" $requests
		;;
	esac
}

make_chain() { # FORMAT BLOCK-SIZE
	rm -rf ./*
	mkdir vm
	status 0 "$lis" disk create "base.$1" --size 40M
	load "base.$1" 1 200
	status 0 "$lis" disk diff "base.$1" "a.$1" --block-size "$2"
	load "a.$1" 2 60
	status 0 "$imgtool" "a.$1" z:3M:5M w:20M:2M:0x21
	status 0 "$lis" disk diff "a.$1" "vm/b.$1"
	load "vm/b.$1" 3 40
	status 0 "$imgtool" "vm/b.$1" w:11112448:4096:0x31
	flat "base.$1" base.raw
	flat "a.$1" a.raw
	flat "vm/b.$1" b.raw
	cmp -s a.raw b.raw && fail "nothing was written to vm/b.$1"
	return 0
}

check_chain() { # FORMAT
	status 0 "$lis" disk info "vm/b.$1" --json
	says '"kind": "differencing"'
	says "a.$1"
	says "base.$1"
	status 0 "$lis" disk check "vm/b.$1"
	[ "$(grep -c 'no damage' out.txt)" = 3 ] || fail "not three images were checked: $(cat out.txt)"
	status 0 "$lis" disk map "vm/b.$1"
	if /usr/bin/python3 -c 'import pyvhdi' 2>/dev/null; then
		libvhdi b.libvhdi "vm/b.$1" "a.$1" "base.$1"
		cmp b.raw b.libvhdi || fail "libvhdi reads something else from vm/b.$1"
		libvhdi a.libvhdi "a.$1" "base.$1"
		cmp a.raw a.libvhdi || fail "libvhdi reads something else from a.$1"
	else
		echo "libvhdi is not installed: not compared with"
	fi
}

# Where the BAT of a file is that lis made.
table_of() {
	case $1 in
	*.vhdx) echo 3145728 ;;
	*) od -A n -t u8 --endian=big -j 528 -N 8 "$1" ;;
	esac
}

# Damaged tables of an image and of a parent of it are told in one go.
check_damage() { # FORMAT
	for file in "a.$1" "base.$1"; do
		cp --sparse=always "$file" "kept-$file"
		# No block of a VHD is there, and no entry of a VHDX is so.
		printf '\5\0\0\1\377\377\377\377' |
			dd of="$file" bs=1 seek=$(($(table_of "$file") + 8)) conv=notrunc status=none
	done
	status 3 "$lis" disk check "vm/b.$1"
	says "vm/b.$1: no damage"
	says "/a.$1: is a damaged .*block [12] "
	says "/base.$1: is a damaged .*block [12] "
	status 3 "$lis" disk check --json "vm/b.$1"
	[ "$(grep -c '"problem_count": *0' out.txt)" = 1 ] || fail "not the parents are damaged: $(cat out.txt)"
	status 1 "$lis" disk info "vm/b.$1"
	says "its parent cannot be used"
	for file in "a.$1" "base.$1"; do
		mv "kept-$file" "$file"
	done
}

check_merge() { # FORMAT
	# Not while somebody has the parent.
	"$imgtool" -r "base.$1" sleep > holder.txt &
	holder=$!
	until grep -q ready holder.txt; do sleep 0.05; done
	status 1 "$lis" disk merge "a.$1"
	says "base.$1: is in use"
	kill "$holder"
	wait "$holder" || true
	holder=

	# One level; the child is gone, its own child is b's parent no more.
	status 0 "$lis" disk merge "vm/b.$1"
	[ ! -e "vm/b.$1" ] || fail "the child is still there"
	flat "a.$1" now.raw
	cmp b.raw now.raw || fail "the parent does not have what the child had"
	status 0 "$lis" disk check "a.$1"

	# Two levels, and an empty child in its place.
	make_chain "$1" 1M
	status 1 "$lis" disk merge "vm/b.$1" --into vm
	says 'is not over vm'
	status 0 "$lis" disk merge "vm/b.$1" --into "base.$1" --keep
	[ ! -e "a.$1" ] || fail "the image between is still there"
	flat "base.$1" now.raw
	cmp b.raw now.raw || fail "the base does not have what the child had"
	flat "vm/b.$1" now.raw
	cmp b.raw now.raw || fail "the empty child does not read as before"
	status 0 "$lis" disk info "vm/b.$1"
	says ' 0 of '
	status 1 "$lis" disk merge "base.$1"
	says 'has no parent'
}

# The parent may not grow: a merge ends in the middle.
check_interrupted() { # FORMAT
	rm -rf ./*
	mkdir vm
	status 0 "$lis" disk create "base.$1" --size 40M
	status 0 "$imgtool" "base.$1" w:0:1M:1
	status 0 "$lis" disk diff "base.$1" "a.$1"
	status 0 "$imgtool" "a.$1" w:4K:64K:2 w:30M:4M:3
	status 0 "$lis" disk diff "a.$1" "vm/b.$1"
	status 0 "$imgtool" "vm/b.$1" w:8K:4K:4
	flat "a.$1" a.raw
	flat "vm/b.$1" b.raw
	status 0 "$lis" disk diff "base.$1" "other.$1"
	limit=$(stat -c %s "base.$1")
	got=0
	prlimit --fsize="$limit" "$lis" disk merge "a.$1" > out.txt 2>&1 || got=$?
	[ "$got" != 0 ] || fail "a parent that cannot grow took it all"
	flat "a.$1" now.raw
	cmp a.raw now.raw || fail "after an interrupted merge the child reads differently"
	if [ "$1" = vhdx ]; then
		status 0 "$lis" disk check "a.$1"
		says 'merging was interrupted'
		status 3 "$imgtool" "a.$1" w:0:4K:1
		says 'merging was interrupted'
		status 3 "$lis" disk check "other.$1"
		says 'is another image, or was written since'
	fi
	status 0 "$lis" disk merge "vm/b.$1" --into "base.$1"
	flat "base.$1" now.raw
	cmp b.raw now.raw || fail "a merge that was run again lost something"
}

check_refusals() { # FORMAT
	rm -rf ./*
	status 0 "$lis" disk create "base.$1" --size 8M
	status 2 "$lis" disk diff "base.$1"
	says 'the image that is to be the parent, and the child'
	status 0 "$lis" disk diff "base.$1" "child.$1"
	status 1 "$lis" disk diff "base.$1" "child.$1"
	says 'exists already'
	status 1 "$lis" disk diff "base.$1" "base.$1" --force
	says 'in use'
	status 1 "$lis" disk resize "child.$1" 16M
	says 'it has the size of its parent'
	status 1 "$lis" disk compact "child.$1"
	says 'only dynamic ones are compacted'
	mv "base.$1" away
	status 1 "$lis" disk check "child.$1"
	says "child.$1: its parent .*base.$1' is neither there nor beside it"
	status 0 "$lis" disk create disk.raw --size 8M
	status 1 "$lis" disk diff disk.raw "none.$1"
	says 'only VHD and VHDX can have children'
	[ ! -e "none.$1" ] || fail "something was made"
}

for format in vhd vhdx; do
	make_chain $format 4M
	check_chain $format
	check_damage $format
	check_merge $format
	check_interrupted $format
	check_refusals $format
done
echo "chains of VHD and VHDX: made, read, merged"
