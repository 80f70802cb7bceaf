#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# What `lis` says and returns, as far as no KVM is needed. usage: command.sh LIS
set -u
lis=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LIS_RUNTIME_DIR=$work/run
failed=0

# expect STATUS PATTERN ARGUMENT...: exit status, and a line of all output that matches.
expect() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$lis" "$@" >"$work/out" 2>&1 </dev/null || status=$?
	if [[ $status != "$want" ]] || ! grep -q -- "$pattern" "$work/out"; then
		echo "FAILED: lis $*: status $status instead of $want, or no '$pattern' in:"
		cat "$work/out"
		failed=1
	fi
}

# Help is on standard output and wants nothing.
expect 0 '^usage: lis COMMAND' --help
expect 0 '^  status ' help
expect 0 '^lis [0-9.]* (OpenLIS)$' --version
expect 2 '^usage: lis COMMAND'
for command in run list status shutdown reboot hibernate reset kill pause resume nmi sync service drive nic capture wait; do
	expect 0 "^usage: lis $command" "$command" --help
	"$lis" --help | grep -q "^  $command " || { echo "FAILED: --help lacks $command"; failed=1; }
done
while read -r option; do
	"$lis" run --help | grep -q -- "$option" || { echo "FAILED: run --help lacks $option"; failed=1; }
done <<-END
	--kernel
	--initrd
	--append
	--memory
	--cpus
	--io-threads
	--topology
	--drive
	--controllers
	--console
	--no-service
	--on-crash
	--on-reboot
	--vmbus-max
	--paused
	--verbose
END

# Errors are one line, "lis: what: why".
expect 2 "^lis: 'frob': unknown command" frob
expect 2 '^lis: run: no kernel given' run
expect 2 '^lis: status: which VM?' status
expect 2 '^lis: kill: one name, and nothing else' kill a b
expect 2 '^lis: service: a name,' service a
expect 2 "^lis: service: 'on': there are enable and disable" service a on heartbeat
expect 2 '^lis: drive: a name, and add, remove' drive a
expect 2 "^lis: drive: 'take': there are add, remove" drive a take drive0
expect 2 "^lis: drive: drive: 'lum=1': there are type=" drive a add x,lum=1
expect 2 '^lis: drive: remove: which drive, and nothing else' drive a remove
expect 2 '^lis: drive: resize: a drive and its new size' drive a resize drive0
expect 2 "^lis: drive: size 'lots'" drive a resize drive0 lots
expect 2 '^lis: drive: checkpoint: a drive, with --child' drive a checkpoint drive0 child
expect 2 '^lis: drive: merge: which drive' drive a merge
expect 2 '^lis: nic: a name, and add, remove or set' nic a
expect 2 "^lis: nic: 'take': there are add, remove and set" nic a take nic0
expect 2 '^lis: nic: add: what --nic' nic a add
expect 2 "^lis: nic: 'eth0': it begins with user" nic a add eth0
expect 2 '^lis: nic: remove: which card' nic a remove
expect 2 '^lis: nic: remove: which card' nic a remove nic0 nic1
expect 2 '^lis: nic: set: a card, and what' nic a set nic0
expect 2 "^lis: nic: 'vlan=3': there are mac=, link=, speed=, mtu=, hostfwd= and no-hostfwd=" nic a set nic0 link=up vlan=3
expect 2 "^lis: nic: no-hostfwd: '22' is too much" nic a set nic0 no-hostfwd=tcp:2222:22
expect 2 "^lis: nic: no-hostfwd=2222: write it like no-hostfwd=tcp:2222 " nic a set nic0 no-hostfwd=2222
expect 2 '^lis: shutdown: unknown option' shutdown a --frob
expect 2 '^lis: shutdown: option .--timeout. needs a value' shutdown a --timeout
expect 2 '^lis: shutdown: --timeout .0.' shutdown a --timeout 0
expect 2 '^lis: reboot: --button only powers off' reboot a --button
expect 2 '^lis: capture: a VM.s name, a card' capture a nic0
expect 2 '^lis: capture: --count .0.' capture a nic0 x --count 0
expect 2 '^lis: capture: --snaplen .13.: give a number from 14 to 65553' capture a nic0 x --snaplen 13
expect 2 '^lis: capture: option .--seconds. needs a value' capture a nic0 x --seconds
expect 2 "^lis: run: nic: vlan=5: user-mode NAT knows no VLANs" run --kernel k --nic user,vlan=5
expect 2 "^lis: list: 'x': it takes no names" list x
for command in status shutdown reboot hibernate reset kill pause resume nmi sync wait; do
	expect 1 "^lis: no VM named 'nobody' is running" "$command" nobody
done
expect 1 "^lis: no VM named 'nobody' is running" capture nobody nic0 "$work/x.pcap"
[[ ! -e $work/x.pcap ]] || { echo 'FAILED: capture of no VM made a file'; failed=1; }
expect 1 "^lis: no VM named 'nobody' is running" service nobody enable heartbeat
expect 1 "^lis: no VM named 'nobody' is running" nic nobody add user,mac=00:15:5d:01:02:03
expect 1 "^lis: no VM named 'nobody' is running" nic nobody remove nic0
expect 1 "^lis: no VM named 'nobody' is running" nic nobody set nic0 link=down speed=1000
expect 1 "^lis: '-- bad': a VM's name is" run --kernel k -- '-- bad'
expect 1 '^lis: .*/nowhere.raw: ' run --kernel k --drive "$work/nowhere.raw"
[[ $(wc -l <"$work/out") = 1 ]] || { echo 'FAILED: more than one line'; failed=1; }

# Nothing runs, nothing is left.
expect 0 '^NAME ' list
expect 0 '^\[' list --json
[[ -z $(ls -A "$work/run") ]] || { echo "FAILED: left in the runtime directory: $(ls "$work/run")"; failed=1; }
exit $failed
