# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Bytes each way while some frames are lost, with and without what the card does for the stack.
. /network.sh

wait_for 30 test -e /sys/class/net/eth0
configure
transfer "$KIB" 'with loss' 10.77.0.1 fd77::1
step 'with the card'
ethtool -K eth0 tx off rx off tso off lro off >/dev/null 2>&1
transfer "$((KIB / 4))" 'with loss and without offloads' 10.77.0.1 fd77::1
step 'without it'
kernel_is_content
say end
read -r _
