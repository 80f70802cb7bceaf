# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
. "$here/network/host.sh"

make_tap 65521
append=" script.MAC=$mac script.RANGES=${ranges:-}"
vm_start vm sizes --nic "tap:lis0,mac=$mac"
serve vm "${seconds:-3000}"
[[ $(json vm '.nics[0].send_invalid') = 0 ]] || fail 'the guest sent what makes no sense'
say vm done
vm_end vm 0
