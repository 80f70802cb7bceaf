# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# Two machines on one switch; one of them leaves and comes back.
declare -A link_local

# start NAME OTHER
start() {
	append="script.NAME=$1 script.OTHER=$2"
	rm -f "$work/$1.in"
	vm_start "$1" pair --nic switch:pair
	expect "$1" '@@there fe80:' 200
	link_local[$1]=${expected##* }
}

both_ways() {
	say one "exchange ${link_local[two]}"
	expect one '@@exchanged' 120
	say two "exchange ${link_local[one]}"
	expect two '@@exchanged' 120
}

start one two
start two one
both_ways
say two leave
vm_end two 0
start two one
both_ways
for name in one two; do
	[[ $(json $name '.nics[0].send_invalid') = 0 ]] || fail "$name sent what makes no sense"
	say $name leave
	vm_end $name 0
done
