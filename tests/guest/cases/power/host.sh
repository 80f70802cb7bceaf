# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
truncate -s 16M "$work/a.raw"
boot_disk "$work/boot.raw"
append=$short_panic
vm_start vm power --drive "$work/a.raw" --drive "$work/boot.raw,ro" --on-crash stop
expect vm '@@up'

if ((cpus > 1)); then
	say vm offline
	expect vm '@@moved'
fi

"$lis" pause vm || fail 'pause'
[[ $(json vm .state) = paused ]] || fail "state is $(json vm .state)"
sleep 5
"$lis" resume vm || fail 'resume'
sleep 3
say vm date
expect vm '@@date'
date=$(tr -d '\r' <"$work/vm.console" | sed -n 's/^.*@@date //p' | tail -n1)
off=$(($(date +%s) - date))
((off >= -1 && off <= 2)) || fail "the clock is off by $off s after the resume"

"$lis" nmi vm || fail 'nmi'
say vm nmi
expect vm '@@nmis [1-9]'

"$lis" service vm disable heartbeat || fail 'service disable'
wait_for 20 json vm '.services[] | select(.name == "heartbeat" and .state == "disabled")'
"$lis" service vm enable heartbeat || fail 'service enable'
wait_for 30 json vm '.services[] | select(.name == "heartbeat" and .state == "ok")'

say vm reboot
expect vm '@@up'
"$lis" reboot vm || fail 'lis reboot'
expect vm '@@up'
"$lis" reset vm || fail 'lis reset'
expect vm '@@up'
say vm kexec
expect vm '@@up'
wait_for 30 json vm '.services[] | select(.name == "heartbeat" and .state == "ok")'
say vm panic
vm_end vm "${crash_status:-3}"
grep -aq 'sysrq' "$work/vm.log" || fail 'the log does not say what the guest died of'
