# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
. "$here/network/host.sh"

# count_of NAME LINE: from what `frames check` says.
count_of() {
	[[ $2 =~ (^| )$1=([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
}

# All checksums from now on, on the TAP, where some are left to be completed, and on the wire.
check_begin() {
	local place
	# What the TAP sees the wire sees, too: it begins before, and ends after.
	for place in liswire lis0; do
		"$guest/frames" check "$place" "$mac" >"$work/check.$place" 2>&1 &
		echo $! >"$work/check.$place.pid"
		wait_for 20 grep -q checking "$work/check.$place"
	done
}

# check_end SEGMENTS CHECKSUM: what the guest had switched on. Everything was right, and of each kind there was some.
check_end() {
	local place kind line status
	for place in lis0 liswire; do
		status=0
		kill "$(<"$work/check.$place.pid")"
		wait "$(<"$work/check.$place.pid")" || status=$?
		line=$(tail -n1 "$work/check.$place")
		echo "segments $1, checksum $2, $place: $line" >>"$keep/checks"
		[[ $status = 0 ]] || { echo "checksums on $place: $(tail -n2 "$work/check.$place" | tr '\n' ' ')"; return 1; }
		for kind in tcp4 tcp6 udp4 udp6 other tagged; do
			(($(count_of $kind "$line") > 0)) || { echo "no $kind on $place: $line"; return 1; }
		done
		case $place:$1:$2 in
		lis0:on:on) (($(count_of long "$line") > 0 && $(count_of partial "$line") > 0)) ;;
		lis0:off:on) (($(count_of long "$line") == 0 && $(count_of partial "$line") > 0)) ;;
		*) (($(count_of long "$line") == 0 && $(count_of partial "$line") == 0)) ;;
		esac || { echo "segments $1, checksum $2 on $place: $line"; return 1; }
	done
	(($(count_of tcp4 "$(tail -n1 "$work/check.liswire")") >= $(count_of tcp4 "$(tail -n1 "$work/check.lis0")"))) ||
		{ echo 'not all of it went over the wire'; return 1; }
}

make_wire 9000
set_mtu 1500
start_peer
append=" script.MAC=$mac script.CPUS=$cpus script.ROUNDS=${rounds:-1}"
vm_start vm card --nic "tap:lis0,mac=$mac"
serve vm "${seconds:-1500}"
[[ $(json vm '.nics[0].send_invalid') = 0 ]] || fail 'the guest sent what makes no sense'
say vm done
vm_end vm 0
