# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# kill -9 in the middle of load: what the guest had flushed is in the image, which is whole, round after round.
# shellcheck disable=SC2154 # rounds: of the plan
disk=$work/disk.vhdx
"$lis" disk create "$disk" --size 4G --block-size 1M || fail 'lis disk create'
RANDOM=1 runs=()
for ((round = 1; round <= ${rounds:-3}; round++)); do
	first=$((round * 1000000)) many=$((1 + RANDOM % 60))
	vm_start "k$round" kill --drive "$disk"
	expect "k$round" @@ready 300
	say "k$round" $first
	expect "k$round" "@@f $((first + many - 1))\$" 300
	read -r -t "0.$((RANDOM % 10))$((RANDOM % 10))" <&"$never" || true
	pid=vm_pid_k$round
	kill -9 "${!pid}"
	wait "${!pid}" || true
	# The last line may have been cut short.
	last=$(sed -n 's/^@@f \([0-9]*\)\r$/\1/p' "$work/k$round.console" | tail -n1)
	((last >= first + many - 1)) || fail "round $round: flush $last is behind $((first + many - 1))"
	runs+=("$first-$last")
	"$lis" disk check "$disk" || fail "round $round: lis disk check finds damage"
	# Every other round what a reader sees who may not mend anything, else what the next writer does.
	# It went on without end when our logs went round in circles: then the image is wanted.
	((round % 2)) || timeout 120 qemu-img check -q -r all -f vhdx "$disk" || {
		cp "$disk" "$keep"
		fail "round $round: qemu-img check"
	}
	"$lis" disk convert --quiet --force "$disk" "$work/disk.raw" || fail "round $round: lis disk convert"
	"$guest/sequence" check "$work/disk.raw" "${runs[@]}" || fail "round $round: flushed data is lost"
	echo "round $round: killed after $((last - first + 1)) flushes"
	rm "$work/disk.raw" "$work/k$round."*
done
