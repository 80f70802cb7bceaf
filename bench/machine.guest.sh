#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest of bench/machine.host.sh: says that it is up, then does nothing until told to end.
echo @@up
read -r _
