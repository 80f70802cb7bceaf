# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
rounds=${rounds:-4} many=${many:-64}
new_disk "$work/first.vhdx" 64M
qemu-img create -q -f vhdx "$work/vhdx" 24M
qemu-img create -q -f vpc -o subformat=dynamic,force_size "$work/vhd" 24M
truncate -s 24M "$work/raw"
append="script.ROUNDS=$rounds script.MANY=$many"
vm_start vm drives --drive "$work/first.vhdx" --controllers 2 --io-threads "$cpus"

drive() {
	"$lis" drive vm "$@" 2>"$work/drive.log" || fail "lis drive vm $*: $(<"$work/drive.log")"
}

# refused STATUS PATTERN ARGUMENT...
refused() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$lis" drive vm "$@" >/dev/null 2>"$work/drive.log" || status=$?
	[[ $status = "$want" ]] && grep -q -- "$pattern" "$work/drive.log" ||
		fail "lis drive vm $*: status $status, $(<"$work/drive.log")"
}

expect vm '@@ready' 200
[[ $(json vm .io_threads) = "$cpus" ]] || fail "$(json vm .io_threads) I/O threads"
refused 1 'is the image of drive0' add "$work/first.vhdx"
refused 1 'No such file' add "$work/none"
refused 1 "no drive 'drive7'" remove drive7
refused 2 'there are raw, vhd and vhdx' add "$work/raw,format=qcow2"
cd "$work"
for ((i = 1; i <= rounds; i++)); do
	formats=(vhdx raw vhd)
	format=${formats[i % 3]}
	[[ $(drive add "$format,controller=$((i % 2))") = drive1 ]] || fail 'the new drive is not drive1'
	refused 1 'is the image of drive1' add "$format"
	expect vm "@@loaded $i" 60
	sum=${expected##* }
	drive remove drive1
	# It is closed now, with all that the guest wrote and flushed.
	"$lis" disk convert --force "$format" check.raw || fail "the image of round $i"
	[[ $(head -c 8M check.raw | md5sum) = "$sum  -" ]] || fail "the image holds something else, round $i"
	"$lis" disk check "$format" >/dev/null || [[ $format = raw ]] || fail "lis disk check, round $i"
	expect vm "@@gone $i" 60
done
for ((i = 1; i <= many; i++)); do
	truncate -s 3M "many$i"
	# As many as one controller has room for.
	drive add "many$i,controller=1" >/dev/null
done
if ((many == 64)); then
	truncate -s 3M many65
	refused 1 'controller 1 has 64 drives already' add many65,controller=1
fi
expect vm '@@many' 120
[[ $(json vm '.drives | length') = $((many + 1)) ]] || fail 'status shows something else'
for ((i = 1; i <= many; i++)); do
	drive remove "drive$i"
done
expect vm '@@drives ok' 120
[[ $(json vm '.drives[].name') = drive0 ]] || fail 'status shows a drive that is gone'
say vm bye
vm_end vm 0
qemu-img check -q first.vhdx || fail 'qemu-img check finds damage'
