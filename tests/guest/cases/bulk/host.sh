# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# MIB each way, by a TAP and by the NAT.
. "$here/network/host.sh"
mib=${mib:-1024}

make_wire 1500
start_peer
append="script.MIB=$mib"
vm_start vm bulk --nic "tap:lis0,mac=$mac" --nic user
serve vm "${seconds:-6000}"
grep -a 'MiB/s' "$work/vm.console" >"$keep/rates"
for card in 0 1; do
	for way in sent received; do
		(($(json vm ".nics[$card].${way}_bytes") > mib << 20)) || fail "card $card: less than that was $way"
	done
	[[ $(json vm ".nics[$card].send_invalid") = 0 ]] || fail 'the guest sent what makes no sense'
done
say vm done
vm_end vm 0
