# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
rounds=${rounds:-16}
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
expect vm '@@sum' 240
sum=${expected##* }
expect vm '@@changes ok' 60
vm_end vm 0
for image in last.avhdx data.vhdx first.vhdx; do
	"$lis" disk check "$work/$image" || fail "lis disk check $image"
done
# The newest have it all; what they were made over holds a file system that needs no more than its journal.
"$lis" disk convert --quiet "$work/last.avhdx" "$work/last.raw" || fail 'the last child'
[[ $(md5sum <"$work/last.raw") = "$sum  -" ]] || fail 'the last child holds something else'
first=$(awk '$1 == "drive0" { print $2 }' <<<"$children")
for image in "$work/first.vhdx" "$first"; do
	"$lis" disk convert --quiet --force "$image" "$work/first.raw" || fail "$image"
	e2fsck -f -y "$work/first.raw" >"$work/fsck.log" 2>&1 || (($? <= 1)) || fail "$image: $(tail -n 1 "$work/fsck.log")"
done
grep -a 'commands waited' "$work/vm.log" || fail 'no pause was logged'
