#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The network in a guest, where a full KVM is: our host beside QEMU's virtio-net (user-space back end), both
# with the distribution's driver, and our hv_netvsc beside the distribution's on our host. A TAP for each of
# the three guests, alike; they run at the same time, but all but the one being measured are stopped. Turn
# about; values are medians of ROUNDS (5), the ratio is the mean (geometric) of the rounds' ratios.
# usage: nic.host.sh GUEST-FOLDER GUEST-FOLDER-WITH-OUR-DRIVERS LIS
set -u
guest=$1 guest_ours=$2 lis=$3
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-4}
# Steady streams are compared; how they get there is bench_connections'.
hystart=0
# shellcheck source-path=SCRIPTDIR source=figures.sh
. "$(dirname "$(readlink -f "$0")")/figures.sh"
# shellcheck source-path=SCRIPTDIR source=nic_guests.sh
. "$(dirname "$(readlink -f "$0")")/nic_guests.sh"

start_qemu() { # TAP ADDRESS
	exec qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256M -smp "$cpus" -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel "$guest/vmlinuz" -initrd "$guest/initrd" \
		-netdev "tap,id=n,ifname=$1,script=no,downscript=no,vhost=off" \
		-device virtio-net-pci,netdev=n,romfile= -append "$args script.ADDRESS=$2"
}
start_theirs() { start_on_lis theirs "$guest" "$@"; }
start_ours() { start_on_lis ours "$guest_ours" "$@"; }

mbits() { # IPERF3-OPTION...
	timeout $((seconds + 30)) iperf3 -J -c "$address" -t "$seconds" -O 1 "$@" |
		jq -r '(.end.sum_received.bits_per_second // 0) / 1e6'
}
# What arrived, not what was sent.
packets() {
	timeout $((seconds + 30)) iperf3 -J -c "$address" -t "$seconds" -u -b 0 -l 18 "$@" |
		jq -r '.end.sum | (.packets - .lost_packets) / .seconds'
}
# qperf tells of one way; there are two.
round_trips() { # tcp_lat|udp_lat
	timeout $((seconds + 30)) qperf -uu -t "$seconds" -m 1 "$address" "$1" |
		awk '$1 == "latency" { u = $4; v = $3; print 1 / (2 * v * (u == "ns" ? 1e-9 : u == "us" ? 1e-6 : u == "ms" ? 1e-3 : 1)) }'
}

measure() { # WHO NAME UNIT COMMAND...
	local who=$1 name=$2 unit=$3 value
	shift 3
	value=$("$@" 2>"$work/error") || value=0
	[[ ${value:-0} != 0 ]] || echo "bench: $who: $name: no value: $(tail -n1 "$work/error")" >&2
	echo "$who $name $unit ${value:-0}" >>"$work/figures"
	[[ -z ${EACH_ROUND:-} ]] || echo "$who $name $unit ${value:-0}" >&2
}

# One after the other, as the machine may be a faster or a slower one some seconds later.
measure_each() { # NAME UNIT COMMAND...
	local i who
	for ((i = 0; i < 3; i++)); do
		who=${everyone[(round + i) % 3]}
		wake "$who"
		measure "$who" "$@"
		sleep_again "$who"
	done
}

everyone=(ours theirs qemu)
for ((i = 0; i < 3; i++)); do
	start "${everyone[i]}" $((i + 1))
done
for ((round = 0; round < rounds; round++)); do
	measure_each tcp_to_guest Mbit/s mbits
	measure_each tcp_from_guest Mbit/s mbits -R
	measure_each udp_to_guest packets/s packets
	measure_each udp_from_guest packets/s packets -R
	measure_each tcp_rr 1/s round_trips tcp_lat
	measure_each udp_rr 1/s round_trips udp_lat
done

values() { # WHO NAME
	awk -v who="$1" -v name="$2" '$1 == who && $2 == name { print $4 }' "$work/figures"
}
compare() { # FIGURE WHO PEER OTHER UNIT NAME
	printf '%s %.0f %s %s %.0f %s %.2f\n' "$1_$6" "$(values "$2" "$6" | median)" "$5" "$3" \
		"$(values "$4" "$6" | median)" "$5" "$(paste <(values "$2" "$6") <(values "$4" "$6") | mean_ratio)"
}
while read -r name unit; do
	compare netvsp theirs qemu_virtio_net qemu "$unit" "$name"
	compare hv_netvsc ours distribution_hv_netvsc theirs "$unit" "$name"
done < <(awk '$1 == "ours" { print $2, $3 }' "$work/figures" | awk '!seen[$1]++')
