#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# A guest whose network is measured: its card up with ADDRESS, servers for iperf3 and qperf, and nothing else.
fail() {
	echo "bench: $*"
	exit 1
}

tries=0
until [ -e /sys/class/net/eth0 ]; do
	[ $((tries += 1)) -lt 300 ] || fail 'no card'
	usleep 100000
done
ip link set lo up
ip addr add "$ADDRESS/24" dev eth0
ip link set eth0 up
iperf3 -s >/dev/null 2>&1 &
qperf &
echo @@up
wait
