#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# docs/porting.md speaks of functions, ops and files: are they there? And is it still one page?
set -u
top=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
cd "$top" || exit 1
page=docs/porting.md port=examples/port/port.c failed=0 seen=0

wrong() { echo "$page: $*"; failed=1; }
quoted() { grep -oE "\`($1)\`" $page | tr -d '`' | sort -u; }

while read -r name; do
	seen=$((seen + 1))
	case $name in
	vmbus_* | storvsc_* | heartbeat_guest_* | os_*) # the core's: declared in one of its headers
		grep -qE "\b$name\(" vmbus/os.h vmbus/client.h vmbus/ring.h storage/storvsc.h \
			services/heartbeat_guest.h || wrong "$name() is no function of the core" ;;
	*)	# the example's: defined there
		grep -qE "^[a-z].*\b$name\([^;]*$" $port || wrong "$name() is not in $port" ;;
	esac
done < <(quoted '[a-z_0-9]+\(\)' | tr -d '()')

while read -r name; do # ops, constants, types
	seen=$((seen + 1))
	grep -rqw -- "${name#struct }" vmbus/client.h vmbus/error.h storage/storvsc.h ||
		wrong "$name is nowhere in the core"
done < <(quoted '(struct )?[a-z]+(_[a-z]+)+|-?[A-Z]+(_[A-Z]+)+' | tr -d -- -)

while read -r path; do
	seen=$((seen + 1))
	compgen -G "$path" >/dev/null || wrong "$path does not exist"
done < <(quoted '[a-z]+/[a-z_*/]*(\.[ch])?')

((seen >= 60)) || wrong "only $seen names were found in it"
(($(wc -l <$page) <= 120)) || wrong 'is longer than one page of 120 lines'
exit $failed
