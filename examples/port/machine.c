// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The machine of the example port: a loopback partition with a bus, a heartbeat and a SCSI disk in
 * memory. Runs the guest, takes the disk away once it was flushed, and says how it all went.
 * usage: machine GUEST
 *
 * Nothing in here is part of a port. The loop has a thread of its own; the guest is a process.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/log.h"
#include "services/heartbeat_host.h"
#include "storage/scsi_disk.h"
#include "storage/storvsp.h"
#include "vmbus/loopback.h"

#define DISK_BYTES (64u << 10)
#define SECTOR_BYTES 512u

static struct machine {
	struct io_loop *loop;
	struct partition *partition;
	struct vmbus_host *host;
	struct heartbeat_host *heartbeat;
	struct storvsp *controller;
	struct scsi_unit *disk;
	struct block_device block;
	char sectors[DISK_BYTES];
	struct io_call unplug, unplugged, call;
	_Atomic bool controller_gone, heartbeat_gone;
} machine;

/* ---- the disk ---- */

static void unplug(struct io_call *call)
{
	storvsp_destroy(machine.controller, &machine.unplugged);
	machine.controller = NULL;
}

static void disk_submit(struct block_device *block, struct block_request *request)
{
	char *at = machine.sectors + request->offset_bytes;

	for (uint32_t i = 0; i < request->iov_count && request->op <= BLOCK_WRITE; i++) {
		const struct iovec *piece = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(piece->iov_base, at, piece->iov_len);
		else
			memcpy(at, piece->iov_base, piece->iov_len);
		at += piece->iov_len;
	}
	if (request->op == BLOCK_FLUSH && machine.controller)
		io_loop_call(machine.loop, &machine.unplug);
	request->done(request, 0);
}

static const struct block_driver disk_driver = { .name = "memory", .submit = disk_submit };

/* ---- life ---- */

static void on_unplugged(struct io_call *call)
{
	machine.controller_gone = true;
}

static void on_heartbeat_gone(struct io_call *call)
{
	machine.heartbeat_gone = true;
}

static int add_devices(void)
{
	struct storvsp_config config = {
		.name = "scsi0", .instance_id = storvsp_instance_id(0),
		.bus_loop = machine.loop, .loops = &machine.loop, .loop_count = 1,
	};
	const struct scsi_disk_config disk = { .device = &machine.block };
	int error;

	snprintf(machine.sectors, SECTOR_BYTES, "Hello from the host.");
	machine.block.driver = &disk_driver;
	machine.block.geometry = (struct block_geometry){
		.size_bytes = DISK_BYTES, .logical_sector_bytes = SECTOR_BYTES,
		.physical_sector_bytes = SECTOR_BYTES, .buffer_align_bytes = 1,
	};
	error = scsi_disk_create(&disk, &machine.disk);
	if (!error)
		error = storvsp_create(machine.host, &config, &machine.controller);
	if (!error)
		error = storvsp_lun_add(machine.controller, (struct storvsp_address){ 0, 0, 0 },
					machine.disk);
	if (!error)
		error = heartbeat_host_create(machine.host, machine.loop, &machine.heartbeat);
	return error;
}

static int power_on(void)
{
	const struct loopback_config config = { .vp_count = 1, .memory_bytes = 4u << 20 };
	struct vmbus_host_config host = { 0 };
	int error = io_loop_create(NULL, &machine.loop);

	if (!error)
		error = loopback_create(&config, &machine.partition);
	host.partition = machine.partition;
	host.loop = machine.loop;
	if (!error)
		error = vmbus_host_create(&host, &machine.host);
	if (!error)
		error = add_devices();
	if (!error)
		error = io_loop_start(machine.loop);
	return error;
}

static void remove_devices(void *unused)
{
	if (machine.controller)
		unplug(NULL);
	heartbeat_host_destroy(machine.heartbeat, &machine.call);
}

static void power_off(void)
{
	io_loop_call_wait(machine.loop, remove_devices, NULL);
	while (!machine.controller_gone || !machine.heartbeat_gone)
		usleep(1000);
	io_loop_join(machine.loop);
	vmbus_host_destroy(machine.host);
	loopback_destroy(machine.partition);
	scsi_unit_destroy(machine.disk);
	io_loop_destroy(machine.loop);
}

/* Returns the guest's exit status, or -1. */
static int run(const char *guest, int fd)
{
	char number[16];
	int status = -1;
	pid_t pid;

	snprintf(number, sizeof(number), "%d", fd);
	pid = fork();
	if (pid == 0) {
		fcntl(fd, F_SETFD, 0);
		execl(guest, guest, number, (char *)NULL);
		_exit(127);
	}
	close(fd);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	bool unplugged, written;
	int fd, status;

	if (argc != 2)
		return 2;
	log_init(OS_LOG_INFO, "host:  ", false);
	machine.unplug.fn = unplug;
	machine.unplugged.fn = on_unplugged;
	machine.call.fn = on_heartbeat_gone;
	if (power_on() || loopback_serve(machine.partition, &fd))
		return 2;
	status = run(argv[1], fd);
	loopback_unserve(machine.partition);
	unplugged = machine.controller_gone;
	written = !strcmp(machine.sectors + SECTOR_BYTES, "Written by a port.");
	power_off();
	printf("guest: status %d; disk: %s, %s\n", status, written ? "written" : "not written",
	       unplugged ? "taken away" : "not taken away");
	return status || !written || !unplugged;
}
