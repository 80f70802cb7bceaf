# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
truncate -s 16M "$work/a.raw"
boot_disk "$work/boot.raw"
append="crashkernel=192M $short_panic"
vm_start vm kdump --drive "$work/a.raw" --drive "$work/boot.raw,ro" --memory 640M --on-crash continue
expect vm '@@crashing'
say vm 'go on'
expect vm '@@dumped' 180
vm_end vm 0
sum=$(head -c $((64 * 65536)) "$work/a.raw" | sha256sum | cut -c1-64)
grep -aq "@@dumped $sum" "$work/vm.console" || fail 'the dump on the disk is not what the guest wrote'
grep -aq 'sysrq' "$work/vm.log" || fail 'the log does not say what the guest died of'
