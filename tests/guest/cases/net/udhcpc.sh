#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# What udhcpc calls with what it was told.
# shellcheck disable=SC2154
case $1 in
deconfig)
	ip -4 addr flush dev "$interface"
	;;
bound | renew)
	ip addr add "$ip/${mask:-24}" dev "$interface" 2>/dev/null
	[ -z "${router:-}" ] || ip route replace default via "${router%% *}"
	: >/etc/resolv.conf
	for server in ${dns:-}; do echo "nameserver $server" >>/etc/resolv.conf; done
	;;
esac
