#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The host's part of the demo, run where a full KVM is. usage: host.sh demo|shell FOLDER LIS
set -eu
mode=$1 dir=$2 lis=$3
vm=(run demo --kernel "$dir/guest/vmlinuz" --initrd "$dir/guest/initrd" --memory 256M --cpus 2
	--drive "$dir/disk.vhdx" --nic user)
kernel_args="console=ttyS0 panic=-1 quiet LOGLEVEL=7 $(<"$dir/guest/append")"

if [[ $mode = shell ]]; then
	exec "$lis" "${vm[@]}" --append "$kernel_args script.SHELL_NOW=1"
fi

head() {
	printf '\n%s%s%s\n' "${bold:-}" "$1" "${plain:-}"
}
note() { # NAME VALUE
	echo "$1=$2" >>"$dir/result"
}

work=$(mktemp -d)
mkfifo "$work/in"
exec 3<>"$work/in"
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
console=$dir/console
: >"$console"

# answer NAME: wait for a new "@@NAME value" on the console and print the value.
declare -A answers
answer() {
	local n=$((${answers[$1]:-0} + 1)) end=$((SECONDS + 150)) value=
	while ((SECONDS < end)); do
		# To its end: the line may still be on its way.
		value=$(grep -ao "@@$1 .*"$'\r' "$console" | sed -n "${n}{s/^@@$1 //;s/\r//p}")
		[[ -z $value ]] || break
		kill -0 "$run" 2>/dev/null || break
		sleep 0.1
	done
	answers[$1]=$n
	said=$value
}

head 'The guest comes up'
"$lis" "${vm[@]}" --append "$kernel_args" <&3 >"$console" 2>"$dir/log" &
run=$!
# Live, but only what concerns us.
tail -n +1 -f "$console" --pid=$run 2>/dev/null |
	sed -unE 's/\r//; s/^(.{0,140}).*$/  | \1/; /Linux version|OpenLIS|Hyper-?[Vv]|hv_|[Vv][Mm][Bb]us|storvsc|sd [0-9]|scsi|EXT4|clocksource: Switched|Run \/init/p' &
answer kernel
note kernel "Debian $said"
answer drivers
note drivers "$said"
answer clocksource
note clocksource "$said"

head 'What it found'
echo devices >&3
answer devices
note devices "$said"
"$lis" status demo
note vmbus "$("$lis" status demo --json | jq -r .vmbus.version)"

head 'It writes 4 MiB to a file on the VHDX and reads them back'
echo write >&3
answer sum
note sum "$said"
echo "  sha256 as written:   $said"
answer sum2
note sum2 "$said"
echo "  sha256 as read back: $said"

head 'Its network card, on the user-mode NAT: DHCP, a ping, 2 MiB each way by TCP'
dd if=/dev/urandom of="$work/file" bs=64k count=32 status=none
# It ends with its input, which is ours.
exec {peer}> >("$(dirname "$0")/../net-peer" "$work/file" "$work/ports")
until [[ -e $work/ports ]]; do sleep 0.1; done
echo "network $(<"$work/ports")" >&3
answer address
note address "$said"
answer ping
note ping "$said"
for way in down up; do
	answer $way
	read -r sent got rate <<<"$said"
	[[ $way = up ]] || sent=$(md5sum <"$work/file" | cut -c1-32)
	note ${way}_sent "$sent"
	note ${way}_sum "$got"
	note ${way}_rate "$rate"
done
exec {peer}>&-
"$lis" status demo | grep -A1 '^NIC'

# offset: set $off to how far the guest's clock is off ours, known to half the time the answer took and half the
# second that the guest's date leaves out.
offset() {
	local before=$EPOCHREALTIME
	echo date >&3
	answer date
	off=$(awk -v a="$before" -v b="$EPOCHREALTIME" -v guest="$said" \
		'BEGIN { printf "%+.1f ± %.1f", guest + 0.5 - (a + b) / 2, (b - a) / 2 + 0.5 }')
}
head 'Heartbeat and clock'
for _ in 1 2 3 4 5 6 7 8 9 10; do
	heartbeat=$("$lis" status demo --json | jq -r '.services[] | select(.name == "heartbeat").state')
	[[ $heartbeat != ok ]] || break
	sleep 1
done
note heartbeat "$heartbeat"
offset
note offset "$off"
echo "  heartbeat: $heartbeat; the guest's clock is $off s off the host's"

head 'Paused for 5 seconds, resumed'
"$lis" pause demo
"$lis" list
sleep 5
"$lis" resume demo
sleep 2
offset
note offset2 "$off"
awk -v off="${off%% *}" 'BEGIN { exit !(off > -2 && off < 2) }' && note offset2_ok yes
echo "  the guest's clock is $off s off the host's again"

head 'The host orders a shutdown'
if "$lis" shutdown demo; then note shutdown accepted; else note shutdown refused; fi
status=0
wait $run || status=$?
note status "$status"
echo "  lis run ended with status $status"
[[ ! -s $dir/log ]] || sed 's/^/  lis: /' "$dir/log"
exit "$status"
