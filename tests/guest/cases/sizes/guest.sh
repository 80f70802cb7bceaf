# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Frames of every size, from the host and back, byte for byte; with RANGES of the longest only some.
. /network.sh

wait_for 30 test -e /sys/class/net/eth0
frames echo eth0 >/tmp/echo 2>&1 &
wait_for 10 grep -q echoing /tmp/echo
while read -r mtu lro ranges <&3; do
	ip link set eth0 down
	ethtool -K eth0 lro $lro || fail "lro $lro"
	ip link set eth0 mtu "$mtu" || fail "MTU $mtu"
	ip link set eth0 up
	wait_for 20 grep -qx 1 /sys/class/net/eth0/carrier
	# shellcheck disable=SC2086
	on_host frames sizes lis0 "$MAC" $ranges
	step "MTU $mtu, lro $lro"
done 3<<END
1500 on 60-1514
9000 off 60-100 1400-1600 1700-1800 2000-2100 4050-4150 8100-9014
65521 on $(echo "${RANGES:-60-65535}" | tr , ' ')
65521 off 60-100 2000-2100 9000-9020 65500-65535
END
kernel_is_content
say end
read -r _
