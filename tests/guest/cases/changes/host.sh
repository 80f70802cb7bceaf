# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
rounds=${rounds:-20}
new_disk "$work/first.vhdx" 64M
qemu-img create -q -f vhdx "$work/data.vhdx" 32M
append="script.ROUNDS=$rounds"
vm_start vm changes --verbose --drive "$work/first.vhdx" --drive "$work/data.vhdx" --controllers 2

drive() {
	"$lis" drive vm "$@" 2>"$work/drive.log" || fail "lis drive vm $*: $(<"$work/drive.log")"
}

expect vm '@@ready' 200
drive resize drive1 +16M
expect vm '@@grown' 60
# All drives three times, each time in the middle of what the guest does.
for ((i = 1; i <= 3; i++)); do
	expect vm '@@round' 60
	children=$(drive checkpoint)
	[[ $(wc -l <<<"$children") = 2 ]] || fail "children: $children"
done
[[ $(json vm '.drives[1].parents') = 3 ]] || fail "status shows $(json vm '.drives[1].parents') parents"
drive checkpoint drive1 --child "$work/last.avhdx"
# One of them back into the image it began with, in the middle of it all; of the other the newest only.
for ((i = 1; i <= 4; i++)); do
	expect vm '@@round' 60
	merged=$(drive merge drive1)
done
[[ $merged = "drive1 $work/data.vhdx" ]] || fail "merged: $merged"
[[ $(json vm '.drives[1].parents') = 0 ]] || fail "status shows $(json vm '.drives[1].parents') parents after merging"
drive merge drive0
[[ ! -e $work/last.avhdx && $(find "$work" -name '*.avhdx' | wc -l) = 2 ]] || fail "left: $(ls "$work"/*.avhdx)"
say vm 'go on'
expect vm '@@sum' 240
sum=${expected##* }
expect vm '@@changes ok' 60
vm_end vm 0
for image in data.vhdx first.vhdx; do
	"$lis" disk check "$work/$image" || fail "lis disk check $image"
done
# What was merged has it all; what children were made over, and they, hold a file system that needs no more than its journal.
"$lis" disk convert --quiet "$work/data.vhdx" "$work/last.raw" || fail 'what was merged'
[[ $(md5sum <"$work/last.raw") = "$sum  -" ]] || fail 'what was merged holds something else'
for image in "$work"/first*; do
	"$lis" disk convert --quiet --force "$image" "$work/first.raw" || fail "$image"
	e2fsck -f -y "$work/first.raw" >"$work/fsck.log" 2>&1 || (($? <= 1)) || fail "$image: $(tail -n 1 "$work/fsck.log")"
done
grep -a 'commands waited' "$work/vm.log" || fail 'no pause was logged'
