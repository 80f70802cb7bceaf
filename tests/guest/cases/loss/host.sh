# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
. "$here/network/host.sh"

make_wire 1500
modprobe sch_netem
# What goes to the guest is lost at the TAP; what comes from it, at the cable.
for place in lis0 lisport; do
	tc qdisc add dev $place root netem loss 3% || fail 'no loss'
done
start_peer
append="script.KIB=$((${mib:-8} * 1024))"
vm_start vm loss --nic "tap:lis0,mac=$mac"
serve vm "${seconds:-1500}"
for place in lis0 lisport; do
	lost=$(tc -s qdisc show dev $place | sed -n 's/.*(dropped \([0-9]*\),.*/\1/p')
	echo "lost at $place: $lost"
	((lost > 0)) || fail "nothing was lost at $place"
done
[[ $(json vm '.nics[0].send_invalid') = 0 ]] || fail 'the guest sent what makes no sense'
say vm done
vm_end vm 0
