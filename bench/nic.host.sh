#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# The network in a guest, where a full KVM is: QEMU's virtio-net (user-space back end), and on our host the
# distribution's hv_netvsc, the same in a second guest, and ours. A TAP for each of the four guests, alike; they are
# measured turn about, ROUNDS times. Prints "WHO NAME UNIT VALUE" for each value.
# usage: nic.host.sh GUEST-FOLDER GUEST-FOLDER-WITH-OUR-DRIVERS LIS BOOT
set -u
guest=$1 guest_ours=$2 lis=$3 boot=$4
rounds=${ROUNDS:-2} seconds=${SECONDS_EACH:-3}
# Steady streams are compared; how they get there is bench_connections'.
hystart=0
# shellcheck source-path=SCRIPTDIR source=nic_guests.sh
. "$(dirname "$(readlink -f "$0")")/nic_guests.sh"

start_qemu() { # TAP ADDRESS
	exec qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256M -smp "$cpus" -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel "$guest/vmlinuz" -initrd "$guest/initrd" \
		-netdev "tap,id=n,ifname=$1,script=no,downscript=no,vhost=off" \
		-device virtio-net-pci,netdev=n,romfile= -append "$args script.ADDRESS=$2"
}

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
	tell "$who" "$name" "$unit" "${value:-0}"
}

measure_each() { # NAME UNIT COMMAND...
	local i who
	for ((i = 0; i < count; i++)); do
		who=${everyone[(round + i) % count]}
		wake "$who"
		measure "$who" "$@"
		sleep_again "$who"
	done
}

start_all ours theirs qemu again
for ((round = 0; round < rounds; round++)); do
	measure_each tcp_to_guest Mbit/s mbits
	measure_each tcp_from_guest Mbit/s mbits -R
	measure_each udp_to_guest packets/s packets
	measure_each udp_from_guest packets/s packets -R
	measure_each tcp_rr 1/s round_trips tcp_lat
	measure_each udp_rr 1/s round_trips udp_lat
done
