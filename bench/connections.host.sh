#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# TCP connections of 60 MiB from a guest, with slow start as the kernel has it: our hv_netvsc, the distribution's, and
# the distribution's in a second guest. HyStart ends slow start where answers come one by one for half a round trip, or
# 4 ms later than before, both of which is a matter of who has the CPU here. So it takes tens of boots.
# Prints "WHO NAME UNIT VALUE" for each connection.
# usage: connections.host.sh GUEST-FOLDER GUEST-FOLDER-WITH-OUR-DRIVERS LIS BOOT
set -u -o pipefail
guest=$1 guest_ours=$2 lis=$3 boot=$4 hystart=1
# shellcheck source-path=SCRIPTDIR source=nic_guests.sh
. "$(dirname "$(readlink -f "$0")")/nic_guests.sh"

start_all ours theirs again
for ((round = 0; round < ${ROUNDS:-3}; round++)); do
	for ((i = 0; i < count; i++)); do
		who=${everyone[(round + i) % count]}
		wake "$who"
		for ((connection = 0; connection < 4; connection++)); do
			value=$(timeout 60 iperf3 -J -c "$address" -n 60M -R |
				jq -er '.end.sum_received.bits_per_second / 1e6') || {
				echo "bench: $who: a connection failed" >&2
				exit 1
			}
			tell "$who" tcp_connections Mbit/s "$value"
		done
		sleep_again "$who"
	done
done
