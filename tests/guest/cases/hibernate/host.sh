# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
. "$here/network/host.sh"
make_wire "${mtu:-1500}"
start_peer

# is_promiscuous CARD: by what its guest has told the host.
is_promiscuous() {
	json "$vm" ".nics[] | select(.name == \"$1\") | .filter | index(\"promiscuous\")"
}

truncate -s 256M "$work/swap.raw"
chmod 600 "$work/swap.raw"
mkswap "$work/swap.raw" >/dev/null
new_disk "$work/data.vhdx" 64M
dd if=/dev/urandom of="$work/file" bs=64k count=16 status=none
sum=$(md5sum <"$work/file")
exec {peer}> >("$here/../../tools/net-peer" "$work/file" "$work/ports")
wait_for 90 test -e "$work/ports"
read -r down up <"$work/ports"
machine=(--drive "$work/swap.raw" --drive "$work/data.vhdx" --nic "tap:lis0,mac=$mac"
	--nic 'user,mac=00:15:5d:01:02:04' --memory 384M)
append="script.CPUS=$cpus script.MAC=$mac script.PORT_DOWN=$down script.PORT_UP=$up script.SUM=${sum%% *} script.MODE=${mode:-} script.ROUNDS=${rounds:-0} script.MTU=${mtu:-}"
more=()
[[ $drivers = stock ]] || more=(--controllers 2)
vm_start first hibernate "${machine[@]}" "${more[@]}"
vm=first serve first 300
expect first '@@hibernating' 30
vm_end first 0
grep -q 'S1SUSPEND' <(head -c 4096 "$work/swap.raw") || fail 'nothing of a hibernated guest is on the disk'

append="script.STAGE=resume" vm_start second hibernate "${machine[@]}"
expect second '@@resumed, [0-9]+' 200
date=${expected##*, }
off=$(($(date +%s) - date))
((off >= -1 && off <= 3)) || fail "the clock is off by $off s after the hibernation"
vm=second serve second 200
expect second '@@all there' 120
wait_for 30 json second '.services[] | select(.name == "heartbeat" and .state == "ok")'
wait_for 30 json second '.services[] | select(.name == "timesync" and .state == "ok")'
"$lis" shutdown second || fail 'lis shutdown'
vm_end second 0
qemu-img convert -O raw "$work/data.vhdx" "$work/data.raw"
e2fsck -fn "$work/data.raw" >/dev/null 2>&1 || fail 'e2fsck finds damage'
