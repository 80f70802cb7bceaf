# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# A capped host is spoken to in the capped version, and the disk works.
dmesg | grep -q "Vmbus version:$VERSION" || fail "$(dmesg | grep 'Vmbus version')"
wait_for 20 test -b /dev/sda
dd if=/dev/sda of=/dev/null bs=64k count=32 2>/dev/null || fail 'read'
dd if=/dev/zero of=/dev/sda bs=64k count=32 conv=fsync 2>/dev/null || fail 'write'
rmmod hv_storvsc || fail 'rmmod'
modprobe hv_storvsc || fail 'modprobe'
wait_for 20 test -b /dev/sda
say done
