# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
truncate -s 16M "$work/a.raw"
append="script.ROUNDS=${rounds:-10}"
vm_start vm reload --drive "$work/a.raw" --nic user
expect vm '@@reloaded' 1500
vm_end vm 0
