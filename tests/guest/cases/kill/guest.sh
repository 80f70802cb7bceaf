# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Writes and flushes until the VM is killed, saying what is flushed.
wait_for 20 test -b /dev/sda
say ready
read -r first
sequence write /dev/sda "$first"
fail "sequence ended"
