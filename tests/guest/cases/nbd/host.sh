# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
rounds=${rounds:-2}
truncate -s 16M "$work/disk.raw"

start_server() {
	rm -f "$work/socket"
	nbdkit -f -U "$work/socket" file "$work/disk.raw" >"$work/nbdkit.log" 2>&1 &
	server=$!
	at_end="kill $server"
	wait_for 20 test -S "$work/socket"
}

start_server
append="script.ROUNDS=$rounds"
vm_start vm nbd --drive "nbd+unix:///?socket=$work/socket"
for ((i = 1; i <= rounds; i++)); do
	expect vm "@@writing $i" 200
	kill -9 "$server"
	wait "$server" 2>/dev/null || true
	wait_for 60 eval '(($(grep -c "the server is gone" "$work/vm.log") == i))'
	start_server
	wait_for 60 eval '(($(grep -c "the server is back" "$work/vm.log") == i))'
	say vm back
done
expect vm '@@sum' 200
sum=${expected##*sum }
vm_end vm 0
[[ $(grep -c nbd+unix "$work/vm.log") = $((2 * rounds)) ]] || fail "more was logged: $(<"$work/vm.log")"
for ((i = 0; i < 8; i++)); do
	[[ $(dd if="$work/disk.raw" bs=2M skip=$i count=1 status=none | md5sum) = "$sum  -" ]] || fail "piece $i is not what was written"
done
