# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
truncate -s 256M "$work/swap.raw"
chmod 600 "$work/swap.raw"
mkswap "$work/swap.raw" >/dev/null
new_disk "$work/data.vhdx" 64M
dd if=/dev/urandom of="$work/file" bs=64k count=16 status=none
sum=$(md5sum <"$work/file")
exec {peer}> >("$here/../../tools/net-peer" "$work/file" "$work/ports")
wait_for 90 test -e "$work/ports"
read -r down up <"$work/ports"
machine=(--drive "$work/swap.raw" --drive "$work/data.vhdx" --nic 'user,mac=00:15:5d:01:02:03' --memory 256M)
append="script.PORT_DOWN=$down script.PORT_UP=$up script.SUM=${sum%% *} script.MODE=${mode:-} script.ROUNDS=${rounds:-0} script.MTU=${mtu:-}"
more=()
[[ $drivers = stock ]] || more=(--controllers 2)
vm_start first hibernate "${machine[@]}" "${more[@]}"
expect first '@@hibernating' 300
vm_end first 0
grep -q 'S1SUSPEND' <(head -c 4096 "$work/swap.raw") || fail 'nothing of a hibernated guest is on the disk'

append="script.STAGE=resume" vm_start second hibernate "${machine[@]}"
expect second '@@resumed, [0-9]+' 200
date=${expected##*, }
off=$(($(date +%s) - date))
((off >= -1 && off <= 3)) || fail "the clock is off by $off s after the hibernation"
expect second '@@all there' 120
wait_for 30 json second '.services[] | select(.name == "heartbeat" and .state == "ok")'
wait_for 30 json second '.services[] | select(.name == "timesync" and .state == "ok")'
"$lis" shutdown second || fail 'lis shutdown'
vm_end second 0
qemu-img convert -O raw "$work/data.vhdx" "$work/data.raw"
e2fsck -fn "$work/data.raw" >/dev/null 2>&1 || fail 'e2fsck finds damage'
