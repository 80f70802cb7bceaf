#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Tests tools/mkguest: makes guests and boots them on QEMU without KVM. KERNELS chooses other than 6.1.
# Ends with 1 and a reason when a test fails.
set -eu
here=$(dirname "$(readlink -f "$0")")
mkguest=$here/../../tools/mkguest
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "failed: $*"; exit 1; }

cat >"$work/script" <<'END'
#!/bin/sh
lsmod | grep -q '^ext4 ' || echo "no ext4"
[ "$(cat /data/file)" = content ] || echo "no file"
/usr/bin/xz --version | head -n 1
echo ready
read -r line
echo "$TEXT, $line"
case $ACTION in
exit) exit "$STATUS" ;;
shutdown) /sbin/poweroff ;;	# as the kernel does for the host
die) kill -9 $$ ;;
esac
sleep 1000
END
mkdir "$work/data"
echo content >"$work/data/file"

# Says hello when the guest is ready; ends in any case.
answer() {
	for _ in {1..2500}; do
		grep -q ready "$work/console" && break
		sleep 0.1
	done
	echo hello
}
# boot KERNEL IMAGE ARGUMENT... - boot with one line of input; the console is in $work/console
boot() {
	local folder=$work/$1 image=$2
	shift 2
	: >"$work/console"
	answer | timeout 300 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-accel tcg -M pc -m 512 -cpu qemu64,+ssse3,+sse4.1,+sse4.2 \
		-kernel "$folder/$image" -initrd "$folder/initrd" -serial stdio \
		-append "console=ttyS0 quiet panic=-1 no_timer_check $*" >"$work/console"
	sed -i 's/\r$//' "$work/console"
}
# shows PATTERN - the console has a line that is PATTERN
shows() {
	grep -qx -- "$1" "$work/console" || { cat "$work/console"; fail "kernel $kernel: no line \"$1\""; }
}

for kernel in ${KERNELS:-6.1}; do
	"$mkguest" --kernel "$kernel" --out "$work/$kernel" --script "$work/script" \
		--with xz --file "$work/data:/data"
	[[ $(cat "$work/$kernel/version") == "$kernel".* ]] || fail "version $(cat "$work/$kernel/version")"

	boot "$kernel" vmlinux script.ACTION=exit script.STATUS=0 "script.TEXT='two words'"
	shows 'two words, hello'
	shows 'xz (XZ Utils) .*'
	shows '@@exit 0@@'
	! grep -qE '^no (ext4|file)' "$work/console" || fail "$(grep -E '^no' "$work/console")"
	boot "$kernel" vmlinuz script.ACTION=exit script.STATUS=3
	shows '@@exit 3@@'
	boot "$kernel" vmlinux script.ACTION=shutdown
	shows '@@poweroff@@'
	boot "$kernel" vmlinux script.ACTION=die
	shows '@@exit 137@@'
done

# Our modules take the place of the kernel's.
"$mkguest" --kernel 6.1 --out "$work/ours" --openlis
for module in hv_vmbus hv_storvsc hv_utils; do
	cpio -t --quiet <"$work/ours/initrd" | grep "/$module\.ko" >"$work/found"
	[[ $(wc -l <"$work/found") = 1 && $(<"$work/found") = */updates/* ]] || fail "$module: $(<"$work/found")"
done
[[ -e $work/ours/append && -z $(<"$work/ours/append") ]] || fail "append: $(<"$work/ours/append")"

"$mkguest" --list | grep -q '^6.1 .*cached 6.1' || fail "--list does not know the cached kernel"
"$mkguest" --kernel 6.1 --out "$work/no" --module no_such 2>/dev/null && fail "an unknown module is accepted"
[ ! -e "$work/no" ] || fail "a failure leaves a result"
