# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
dd if=/dev/urandom of="$work/file" bs=64k count=32 status=none
sum=$(md5sum <"$work/file")
# It ends when the test does, with its input.
exec {peer}> >("$here/../../tools/net-peer" "$work/file" "$work/ports")
wait_for 90 test -e "$work/ports"
read -r down up <"$work/ports"
mac=00:15:5d:01:02:03
append="script.MAC=$mac script.PORT_DOWN=$down script.PORT_UP=$up"
vm_start vm net --nic "user,mac=$mac"
expect vm '@@network ok' 400
for name in plain mtu9000 mtu1500 again; do
	grep -aq "@@down $name ${sum%% *}" "$work/vm.console" || fail "the guest got something else, $name"
done
[[ $(json vm '.nics[0].mac') = "$mac" ]] || fail "status shows $(json vm '.nics[0].mac')"
(($(json vm '.nics[0].received_bytes') > 7 << 20)) || fail 'status does not count what was received'
(($(json vm '.nics[0].sent_bytes') > 7 << 20)) || fail 'status does not count what was sent'
[[ $(json vm '.nics[0].send_invalid') = 0 ]] || fail 'the guest sent what makes no sense'
"$lis" status vm | grep -q "^nic0 .*$mac" || fail 'lis status does not show the card'
say vm done
vm_end vm 0
