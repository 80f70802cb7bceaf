# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# One of two machines on a switch, NAME: does what the host says, with the OTHER one.
. /network.sh

number() {
	[ "$1" = one ] && echo 1 || echo 2
}

wait_for 30 test -e /sys/class/net/eth0
other=10.79.0.$(number "$OTHER")
ip link set eth0 up || fail 'link up'
ip addr add "10.79.0.$(number "$NAME")/24" dev eth0
wait_for 30 sh -c "ip -6 addr show eth0 | grep 'inet6 fe80:' | grep -qv tentative"
exchange serve 7 >/tmp/peer 2>&1 &
wait_for 10 grep -q serving /tmp/peer
say "there $(ip -6 addr show eth0 | sed -n 's|.*inet6 \(fe80:[^/]*\)/.*|\1|p')"
while read -r order argument; do
	case $order in
	exchange)
		wait_for 20 ping -c 1 -W 1 "$other"
		ping -6 -c 3 -s 1400 "$argument%eth0" >/dev/null || fail "ping of $argument"
		transfer 2048 "with the machine $OTHER" "$other" "$argument%eth0"
		say exchanged
		;;
	leave)
		kernel_is_content
		exit 0
		;;
	esac
done
