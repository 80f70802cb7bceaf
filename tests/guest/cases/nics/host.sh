# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
dd if=/dev/urandom of="$work/file" bs=64k count=4 status=none
sum=$(md5sum <"$work/file")
# It ends when the test does, with its input.
exec {peer}> >(PEER_ADDRESS=0.0.0.0 "$here/../../tools/net-peer" "$work/file" "$work/ports")
wait_for 90 test -e "$work/ports"
read -r down up <"$work/ports"
mac=00:15:5d:01:02:03 mac2=00:15:5d:01:02:04 mac3=00:15:5d:01:02:05
rounds=${rounds:-10}
append="script.MAC=$mac script.MAC2=$mac2 script.MAC3=$mac3 script.PORT_DOWN=$down script.PORT_UP=$up script.ROUNDS=$rounds"
vm_start vm nics --nic "tap:lis0,mac=$mac"
wait_for 30 ip addr add 10.0.3.1/24 dev lis0

nic() {
	"$lis" nic vm "$@" 2>"$work/nic.log" || fail "lis nic vm $*: $(<"$work/nic.log")"
}

# refused STATUS PATTERN ARGUMENT...
refused() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$lis" nic vm "$@" >/dev/null 2>"$work/nic.log" || status=$?
	[[ $status = "$want" ]] && grep -q -- "$pattern" "$work/nic.log" ||
		fail "lis nic vm $*: status $status, $(<"$work/nic.log")"
}

add() {
	[[ $(nic add "user,mac=$mac2") = nic1 ]] || fail 'the new card is not nic1'
}

expect vm '@@ready' 200
refused 1 'nic0 has this address' add "user,mac=$mac"
refused 1 'it is in use' add tap:lis0
refused 1 "no network card 'nic7'" remove nic7
refused 2 'there are up and down' set nic0 link=sideways

add
expect vm '@@loaded 1' 60
refused 1 'nic1 has this address' set nic0 "mac=$mac2"
nic set nic1 link=down
expect vm '@@carrier 0' 30
[[ $(json vm '.nics[1].link_up | not') = true ]] || fail 'status shows a link that is up'
nic set nic1 link=up speed=2500
expect vm '@@carrier 1, speed 2500' 30
for ((i = 1; i < rounds; i++)); do
	((i == 1)) || expect vm "@@loaded $i" 60
	nic remove nic1
	add
done
expect vm "@@loaded $rounds" 60
# The card with another address, and another MTU, is the same card.
id=$(json vm '.devices[] | select(.name == "nic1").instance_id')
nic set nic1 "mac=$mac3" mtu=1400
expect vm '@@changed 1400' 60
[[ $(json vm '.devices[] | select(.name == "nic1").instance_id') = "$id" ]] || fail 'another card'
nic remove nic1
expect vm '@@gone' 60
[[ $(json vm '[.nics[].name] | join(" ")') = nic0 ]] || fail 'status shows a card that is gone'
expect vm '@@nics ok' 60
for ((i = 1; i <= rounds; i++)); do
	grep -aq "@@down $i ${sum%% *}" "$work/vm.console" || fail "the guest got something else, round $i"
done
grep -aq "@@down last ${sum%% *}" "$work/vm.console" || fail 'the first card does not work any more'
say vm done
vm_end vm 0
