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
# From before its first frame on; and another that lasts until the VM ends.
wait_for 60 "$lis" status vm
"$lis" capture vm nic0 "$work/net.pcap" 2>"$work/capture.log" &
capture=$!
"$lis" capture vm nic0 - --snaplen 100 >"$work/short.pcap" 2>"$work/short.log" &
short=$!
wait_for 60 grep -q 'capturing nic0' "$work/capture.log"
wait_for 60 grep -q 'capturing nic0' "$work/short.log"
[[ $(json vm '.nics[0].captures') = 2 ]] || fail "captures: $(json vm '.nics[0].captures') instead of 2"
expect vm '@@network ok' 400
for name in plain mtu9000 mtu1500 again; do
	grep -aq "@@down $name ${sum%% *}" "$work/vm.console" || fail "the guest got something else, $name"
done
[[ $(json vm '.nics[0].mac') = "$mac" ]] || fail "status shows $(json vm '.nics[0].mac')"
(($(json vm '.nics[0].received_bytes') > 7 << 20)) || fail 'status does not count what was received'
(($(json vm '.nics[0].sent_bytes') > 7 << 20)) || fail 'status does not count what was sent'
[[ $(json vm '.nics[0].send_invalid') = 0 ]] || fail 'the guest sent what makes no sense'
# What it has of IPv6 shows when it first says something by it.
wait_for 30 json vm '.nics[0].addresses | join(" ") | test("f[ec][c8]0:")'
"$lis" status vm | grep -q "^nic0 .*$mac" || fail 'lis status does not show the card'
"$lis" status vm | grep -q '10\.0\.2\.15, .*; [0-9]* channels\?; being captured' || fail 'nor how it is used'
[[ $(json vm '.nics[0].addresses | join(" ")') =~ ^10\.0\.2\.15\ .*f[ec][c8]0: ]] ||
	fail "status shows as addresses $(json vm '.nics[0].addresses')"

# What passed is recorded or counted, and nothing else; DHCP and TCP, small and large, with all sums right.
passed() {
	json vm '.nics[0] | .packets_received + .packets_sent'
}
before=$(passed)
kill -INT "$capture"
wait "$capture" || fail "lis capture: $(tail -n1 "$work/capture.log")"
recorded=$(($(sed -n 's/^\([0-9]*\) frames captured$/\1/p; s/^\([0-9]*\) dropped.*/+\1/p' "$work/capture.log" | tr -d '\n')))
((before <= recorded && recorded <= $(passed))) || fail "$recorded frames instead of $before to $(passed)"
"$here/pcap-check" "$work/net.pcap" >"$work/check.log" 2>&1 || fail "a captured frame is wrong: $(<"$work/check.log")"
cat "$work/check.log"
grep -q 'arp [0-9]*, icmp [0-9]*, .*tcp [0-9]*, udp [0-9]*' "$work/check.log" || fail "captured: $(<"$work/check.log")"

say vm done
vm_end vm 0
wait "$short" || fail "a capture that outlives the VM: $(tail -n1 "$work/short.log")"
grep -q 'nic0 is gone' "$work/short.log" || fail "it says $(<"$work/short.log")"
