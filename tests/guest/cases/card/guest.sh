# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# A network card on a TAP: all that ethtool shows and changes, under load; every combination of what card and
# stack do for each other, with all checksums computed by the host; XDP by the driver itself; filters and link.
. /network.sh

shows() { # ETHTOOL-OPTION|'' PATTERN
	# shellcheck disable=SC2086
	ethtool $1 eth0 >/tmp/shown 2>&1
	grep -qE -- "$2" /tmp/shown || fail "ethtool $1 does not show $2: $(cat /tmp/shown)"
}

# Sum of the counters whose names match.
statistic() {
	ethtool -S eth0 | awk -v name="^ *$1:" '$0 ~ name { n += $2 } END { print n + 0 }'
}

start_load() {
	(while :; do timeout 5 exchange 4096 7 10.77.0.1 fd77::1 >/dev/null 2>&1 || sleep 1; done) &
	load=$!
}

end_load() {
	kill $load
	killall exchange timeout 2>/dev/null
	wait $load 2>/dev/null
}

wait_for 30 test -e /sys/class/net/eth0
configure
transfer 256 plain 10.77.0.1

shows -i '^driver: hv_netvsc$'
# The distribution's of 6.1 does not say.
[ "$DRIVERS" = stock ] || shows -i '^bus-info: [0-9a-f]{8}-'
shows '' 'Link detected: yes'
shows '' 'Speed: [0-9]+Mb/s'
shows -l "Combined:.*$CPUS\$"
shows -k '^tcp-segmentation-offload: on'
shows -k '^rx-checksumming: on'
shows -k '^tx-vlan-offload: on'
shows -g '^RX:.*[0-9]{3}'
shows -S 'tx_queue_0_packets: [1-9]'
shows -S 'rx_queue_0_bytes: [1-9]'
shows -d '0x0000'
shows -T 'software-transmit'
step shown

start_load
round=0
while [ $((round += 1)) -le "$ROUNDS" ]; do
	count=0
	while [ $((count += 1)) -le "$CPUS" ]; do
		set_to -L combined $count
		[ "$(ethtool -l eth0 | sed -n 's/^Combined:[^0-9]*//p' | tail -n 1)" = $count ] || fail "not $count channels"
		transfer 256 "with $count channels" 10.77.0.1
	done
	set_to -G rx 200 tx 20
	transfer 256 'with small rings' 10.77.0.1
	set_to -G rx 9000 tx 170
	for mtu in 9000 4000 1500; do
		ip link set eth0 mtu $mtu || fail "MTU $mtu"
		on_host set_mtu $mtu
		transfer 256 "with MTU $mtu" 10.77.0.1
	done
done
end_load
step changed

# In each round what it does not do on one way it does not do on the other, either.
configure_tag
tags='off on'
# The distribution's driver always leaves tags to the card.
[ "$DRIVERS" = ours ] || tags=on
for segments in off on; do
	for checksum in off on; do
		for tag in $tags; do
			set_to -K tx $checksum
			set_to -K rx $checksum
			# There are no segments without checksums.
			ethtool -K eth0 tso $segments >/dev/null 2>&1
			[ "$DRIVERS" = stock ] || set_to -K txvlan $tag
			[ "$DRIVERS" = stock ] || set_to -K rxvlan $tag
			on_host check_begin
			transfer 256 "with segments $segments, checksum $checksum, tag $tag" \
				10.77.0.1 fd77::1 10.78.0.1 fd78::1
			# A feature that is not there without another is not on.
			if ethtool -k eth0 | grep -q '^tcp-segmentation-offload: on'; then sent=on; else sent=off; fi
			on_host check_end $sent $checksum
		done
	done
done
step combined

if [ "$CPUS" -gt 1 ]; then
	shows -x 'RSS hash key'
	set_to -X equal 1
	before=$(statistic rx_queue_1_packets)
	transfer 256 'on one queue' 10.77.0.1
	[ "$(statistic rx_queue_1_packets)" = "$before" ] || fail 'flows go where they should not'
	set_to -X equal "$CPUS"
	set_to -X hkey "$(awk 'BEGIN { for (i = 1; i < 40; i++) printf "%02x:", i; print "28" }')"
	shows -x '01:02:03:04'
	for kind in tcp4 udp4 tcp6 udp6; do
		set_to -N rx-flow-hash $kind sd
		ethtool -n eth0 rx-flow-hash $kind | grep -q 'L4 bytes' && fail "ports are in the hash of $kind"
		set_to -N rx-flow-hash $kind sdfn
		ethtool -n eth0 rx-flow-hash $kind | grep -q 'L4 bytes' || fail "no ports in the hash of $kind"
	done
	transfer 256 'with another key' 10.77.0.1
	step spread
fi

# A program wants frames as they came. What it does not pass on, no address can be resolved by.
set_to -K lro off
for program in pass drop tx redirect:eth0; do
	xdp eth0 $program >/tmp/xdp 2>&1 &
	attached=$!
	wait_for 10 grep -q attached /tmp/xdp
	case $program in
	pass)
		transfer 256 'with a program' 10.77.0.1
		transfer 256 'with a program' fd78::1
		;;
	drop)
		before=$(statistic 'rx_queue_[0-9]+_xdp_drop')
		! ping -c 1 -W 1 10.77.0.1 >/dev/null || fail 'what is dropped arrives'
		wait_for 10 eval '[ "$(statistic "rx_queue_[0-9]+_xdp_drop")" -gt "$before" ]'
		;;
	*)
		on_host frames sizes lis0 "$MAC" 60-200 1400-1514
		;;
	esac
	kill $attached
	wait $attached 2>/dev/null
done
[ "$(statistic 'rx_queue_[0-9]+_xdp_tx')" -ge 256 ] || fail 'no counter of those sent back'
[ "$(statistic 'rx_queue_[0-9]+_xdp_redirect')" -ge 256 ] || fail 'no counter of those redirected'
[ "$(statistic 'tx_queue_[0-9]+_xdp_xmit')" -ge 256 ] || fail 'no counter of those sent after that'
transfer 256 'after the programs' 10.77.0.1
ip link del eth0.5
set_to -K lro on
step programs
for feature in lro sg gso gro rxhash; do
	set_to -K $feature off
	transfer 256 "without $feature" 10.77.0.1
	set_to -K $feature on
done
set_to -K tso on
step features

frames echo eth0 01:00:5e:01:02:03 >/tmp/echo 2>&1 &
echo=$!
wait_for 10 grep -q echoing /tmp/echo
on_host frames sizes lis0 "$MAC" 60-64
on_host frames sizes lis0 ff:ff:ff:ff:ff:ff 60-64
on_host frames sizes lis0 01:00:5e:01:02:03 60-64
on_host filter_lets 3 02:99:99:99:99:99 "$MAC"
ip link set eth0 promisc on
on_host filter_lets 0 02:99:99:99:99:99 "$MAC"
transfer 256 'promiscuous' 10.77.0.1
ip link set eth0 promisc off
on_host filter_lets 3 02:99:99:99:99:99 "$MAC"

# As with every driver that does not say otherwise: while it is down.
for address in 02:11:22:33:44:55 "$MAC"; do
	ip link set eth0 down
	ip link set eth0 address "$address" || fail 'no other address'
	configure
	on_host filter_lets 3 02:99:99:99:99:99 "$address"
	transfer 256 "with the address $address" 10.77.0.1
done
kill $echo
for _ in 1 2 3 4 5; do
	ip link set eth0 down || fail 'down'
	ip link set eth0 up || fail 'up'
done
configure
transfer 256 'after down and up' 10.77.0.1
step addressed

start_load
for _ in 1 2 3; do
	on_host ip link set lis0 down
	wait_for 20 grep -qx 0 /sys/class/net/eth0/carrier
	on_host ip link set lis0 up
	wait_for 20 grep -qx 1 /sys/class/net/eth0/carrier
	transfer 256 'after the link came back' 10.77.0.1
done
end_load
step flapped
kernel_is_content
say end
read -r _ # until the host has seen enough
