# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Many bytes each way, by two cards.
. /network.sh

wait_for 30 test -e /sys/class/net/eth1
configure
ip link set eth1 up
udhcpc -i eth1 -n -q >/tmp/udhcpc 2>&1 || fail "DHCP: $(tail -n1 /tmp/udhcpc)"
for address in 10.77.0.1 10.0.2.2; do
	since=$(cut -d ' ' -f 1 /proc/uptime)
	transfer $((MIB * 1024)) 'of many bytes' $address
	cut -d ' ' -f 1 /proc/uptime | awk -v since="$since" -v mib="$MIB" -v address=$address \
		'{ printf "%s: %d MiB there and back at %.1f MiB/s\n", address, mib, mib / ($1 - since) }'
done
kernel_is_content
say end
read -r _
