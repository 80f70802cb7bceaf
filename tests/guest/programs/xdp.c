// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Attaches an XDP program to an interface, by the driver itself, and keeps it there until killed.
 *
 * Made without libbpf, as the programs are a few instructions each. tx and redirect swap the
 * addresses of a frame first, so that it goes back to where it came from.
 */
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INSN(op, dst, src, offset, value)                                                          \
	{                                                                                          \
		.code = (op), .dst_reg = (dst), .src_reg = (src), .off = (offset), .imm = (value)  \
	}
#define MOVE(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define MOVE_REG(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ADD(dst, value) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value)
#define SKIP_IF_ABOVE(a, b, count) INSN(BPF_JMP | BPF_JGT | BPF_X, a, b, count, 0)
#define LOAD(size, dst, src, offset) INSN(BPF_LDX | BPF_MEM | (size), dst, src, offset, 0)
#define STORE(size, dst, src, offset) INSN(BPF_STX | BPF_MEM | (size), dst, src, offset, 0)
#define CALL(function) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, function)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static uint32_t load(const struct bpf_insn *insns, size_t count)
{
	static char log[65536];
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uintptr_t)insns,
		.insn_cnt = (uint32_t)count,
		.license = (uintptr_t) "GPL",
		.log_level = 1,
		.log_size = sizeof(log),
		.log_buf = (uintptr_t)log,
	};
	long fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0) {
		perror("loading the program");
		fputs(log, stderr);
		exit(1);
	}
	return (uint32_t)fd;
}

static uint32_t load_verdict(int verdict)
{
	const struct bpf_insn insns[] = { MOVE(0, verdict), EXIT };

	return load(insns, sizeof(insns) / sizeof(insns[0]));
}

/* What the program returns is what @function does with @argument. */
static uint32_t load_swap(int function, int argument)
{
	const struct bpf_insn insns[] = {
		LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, data)),
		LOAD(BPF_W, 3, 1, offsetof(struct xdp_md, data_end)),
		MOVE_REG(4, 2),
		ADD(4, 14),
		SKIP_IF_ABOVE(4, 3, 12),
		LOAD(BPF_W, 5, 2, 0),
		LOAD(BPF_H, 6, 2, 4),
		LOAD(BPF_W, 7, 2, 6),
		LOAD(BPF_H, 8, 2, 10),
		STORE(BPF_W, 2, 7, 0),
		STORE(BPF_H, 2, 8, 4),
		STORE(BPF_W, 2, 5, 6),
		STORE(BPF_H, 2, 6, 10),
		MOVE(1, argument),
		MOVE(2, 0),
		function ? (struct bpf_insn)CALL(function) : (struct bpf_insn)MOVE_REG(0, 1),
		EXIT,
		MOVE(0, XDP_PASS),
		EXIT,
	};

	return load(insns, sizeof(insns) / sizeof(insns[0]));
}

static uint32_t load_program(const char *name)
{
	if (!strcmp(name, "pass"))
		return load_verdict(XDP_PASS);
	if (!strcmp(name, "drop"))
		return load_verdict(XDP_DROP);
	if (!strcmp(name, "tx"))
		return load_swap(0, XDP_TX);
	if (!strncmp(name, "redirect:", 9))
		return load_swap(BPF_FUNC_redirect, (int)if_nametoindex(name + 9));
	fputs("usage: xdp INTERFACE pass|drop|tx|redirect:INTERFACE\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	union bpf_attr attr = { .link_create = {
					.prog_fd = load_program(argc == 3 ? argv[2] : ""),
					.target_ifindex = argc == 3 ? if_nametoindex(argv[1]) : 0,
					.attach_type = BPF_XDP,
					.flags = XDP_FLAGS_DRV_MODE,
				} };

	if (bpf(BPF_LINK_CREATE, &attr) < 0) {
		perror("attaching the program");
		return 1;
	}
	puts("attached");
	fflush(stdout);
	pause();
	return 0;
}
