// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/loopback/drive_rig.h"

void rig_path_of(const struct rig *rig, const char *name, char *path)
{
	snprintf(path, 128, "%s/%s", rig->base.folder, name);
}

void rig_make_image(const struct rig *rig, const char *name)
{
	struct block_create_options options = { .format = strrchr(name, '.') + 1,
						.size_bytes = DISK_BYTES };
	char path[128], error[BLOCK_ERROR_BYTES];

	rig_path_of(rig, name, path);
	assert_int_equal(block_create(path, &options, error), 0);
}

void rig_drop_image(const struct rig *rig, const char *name)
{
	char path[128];

	rig_path_of(rig, name, path);
	assert_int_equal(unlink(path), 0);
}

/* ---- the guest ---- */

static void fill(uint8_t *page, uint64_t seed, uint32_t block)
{
	memset(page, 0, BLOCK_BYTES);
	if (seed)
		block_pattern(page, BLOCK_BYTES, block * BLOCK_BYTES, seed);
}

static void send_io(struct rig *rig, uint32_t index)
{
	struct slot *slot = &rig->slots[index];
	uint32_t lba = slot->block * (BLOCK_BYTES / 512);
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.request = { .cdb_length = 10,
			     .lun = slot->lun,
			     .data_transfer_length = BLOCK_BYTES,
			     .data_in = slot->write ? STORVSC_DATA_OUT : STORVSC_DATA_IN,
			     .cdb = { slot->write ? SCSI_WRITE_10 : SCSI_READ_10, 0, 0, 0,
				      (uint8_t)(lba >> 8), (uint8_t)lba, 0, 0,
				      BLOCK_BYTES / 512 } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[4];

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, BLOCK_BYTES, 0, &slot->pfn), 0);
	out = vmbus_packet_gpa_direct(index + 1, &builder, &piece, 1);
	assert_int_equal(storvsp_guest_write(&rig->channel, &out), 0);
	slot->busy = rig->busy[slot->lun][slot->block] = true;
	rig->in_flight++;
}

static void start_io(struct rig *rig, uint32_t index)
{
	struct slot *slot = &rig->slots[index];
	uint64_t dice = block_random(&rig->random);

	slot->lun = (uint8_t)(dice % LUNS);
	slot->block = (uint32_t)(dice >> 8) % BLOCKS;
	slot->write = dice >> 40 & 1;
	slot->seed = dice | 1;
	if (!rig->uses[slot->lun] || rig->busy[slot->lun][slot->block])
		return;
	if (slot->write)
		fill(slot->page, slot->seed, slot->block);
	else
		memset(slot->page, 0xee, BLOCK_BYTES);
	send_io(rig, index);
}

static void finish_io(struct rig *rig, const struct storvsp_reply *reply)
{
	struct slot *slot = &rig->slots[reply->id - 1];
	uint64_t *seed = &rig->seeds[slot->lun][slot->block];
	uint8_t expected[BLOCK_BYTES];

	assert_true(reply->id >= 1 && reply->id <= DEPTH && slot->busy);
	slot->busy = rig->busy[slot->lun][slot->block] = false;
	rig->in_flight--;
	if ((reply->packet.request.srb_status & STORVSC_SRB_CODE_MASK) == STORVSC_SRB_INVALID_LUN) {
		rig->absent[slot->lun]++;
		return;
	}
	if (reply->packet.request.scsi_status == SCSI_CHECK_CONDITION &&
	    reply->packet.request.sense[2] == 6) {
		rig->sense = SCSI_SENSE(6, reply->packet.request.sense[12],
					reply->packet.request.sense[13]);
		rig->attentions++;
		return;
	}
	assert_int_equal(reply->packet.request.srb_status, STORVSC_SRB_SUCCESS);
	rig->done[slot->lun]++;
	if (slot->write) {
		*seed = slot->seed;
		return;
	}
	fill(expected, *seed, slot->block);
	assert_memory_equal(slot->page, expected, BLOCK_BYTES);
}

void rig_guest_runs(struct rig *rig)
{
	struct storvsp_reply reply;

	while (storvsp_guest_receive(&rig->channel, &reply) == 0) {
		if (reply.packet.operation == STORVSC_ENUMERATE_BUS)
			rig->rescans++;
		else
			finish_io(rig, &reply);
	}
	for (uint32_t i = 0; i < DEPTH; i++)
		if (!rig->slots[i].busy)
			start_io(rig, i);
}

static void pump(void *arg)
{
	vm_rig_turn(&((struct rig *)arg)->base);
}

void rig_pump(struct vm_rig *base)
{
	pump(base);
	rig_guest_runs((struct rig *)base);
}

void rig_guest_works(struct rig *rig, uint8_t lun, uint32_t count)
{
	uint32_t end = rig->done[lun] + count;

	rig->uses[lun] = true;
	while (rig->done[lun] < end)
		rig_pump(&rig->base);
}

void rig_guest_rests(struct rig *rig)
{
	memset(rig->uses, 0, sizeof(rig->uses));
	while (rig->in_flight)
		rig_pump(&rig->base);
}

uint32_t rig_guest_counts(struct rig *rig)
{
	struct slot *slot = &rig->slots[0];
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.request = { .cdb_length = 12,
			     .data_in = STORVSC_DATA_IN,
			     .data_transfer_length = BLOCK_BYTES,
			     .cdb = { SCSI_REPORT_LUNS, [8] = BLOCK_BYTES >> 8 } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct storvsp_reply reply;
	struct vmbus_packet_out out;
	uint64_t head[4];

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, BLOCK_BYTES, 0, &slot->pfn), 0);
	out = vmbus_packet_gpa_direct(99, &builder, &piece, 1);
	assert_int_equal(storvsp_guest_write(&rig->channel, &out), 0);
	do {
		assert_int_equal(storvsp_guest_wait(&rig->channel, &reply), 0);
		rig->rescans += reply.packet.operation == STORVSC_ENUMERATE_BUS;
	} while (reply.id != 99);
	return (uint32_t)(slot->page[2] << 8 | slot->page[3]) / 8;
}

/* ---- commands ---- */

struct json_object *rig_call(struct rig *rig, const char *command, const char *drive,
			     const char *name, const char *value)
{
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, command, "drive", drive, name, value);
	if (vm_rig_finish(&rig->base, &call))
		fail_msg("%s %s: %s", command, drive, call.error);
	return call.result;
}

int rig_add(struct rig *rig, const char *name, const char *options)
{
	char path[128], spec[160];
	struct json_object *result;
	int number = -1;

	rig_path_of(rig, name, path);
	snprintf(spec, sizeof(spec), "%s%s", path, options);
	result = rig_call(rig, "drive-add", spec, NULL, NULL);
	assert_int_equal(sscanf(json_text(result, "name", ""), "drive%d", &number), 1);
	json_object_put(result);
	return number;
}

void rig_remove(struct rig *rig, const char *drive)
{
	json_object_put(rig_call(rig, "drive-remove", drive, NULL, NULL));
}

void rig_refuses_with(struct rig *rig, const char *command, const char *drive, const char *name,
		      const char *value, int err, const char *says)
{
	struct vm_rig_call call;

	vm_rig_begin(&rig->base, &call, command, "drive", drive, name, value);
	assert_int_equal(vm_rig_finish(&rig->base, &call), err);
	if (!strstr(call.error, says))
		fail_msg("%s %s: %s", command, drive, call.error);
}

void rig_refuses(struct rig *rig, const char *command, const char *value, int err, const char *says)
{
	rig_refuses_with(rig, command, value, NULL, NULL, err, says);
}

void rig_refuses_file(struct rig *rig, const char *name, const char *options, int err,
		      const char *says)
{
	char path[128], spec[160];

	rig_path_of(rig, name, path);
	snprintf(spec, sizeof(spec), "%s%s", path, options);
	rig_refuses(rig, "drive-add", spec, err, says);
}

void rig_image_holds(struct rig *rig, const char *name, uint8_t lun)
{
	char path[128], error[BLOCK_ERROR_BYTES];
	uint8_t *data = malloc(DISK_BYTES), expected[BLOCK_BYTES];
	struct block_device *device;
	struct io_loop *loop;

	rig_path_of(rig, name, path);
	if (block_open(path, NULL, &device, error))
		fail_msg("%s", error);
	assert_int_equal(io_loop_create(NULL, &loop), 0);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, DISK_BYTES), 0);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		fill(expected, rig->seeds[lun][i], i);
		assert_memory_equal(data + i * BLOCK_BYTES, expected, BLOCK_BYTES);
	}
	io_loop_destroy(loop);
	assert_int_equal(block_close(device), 0);
	free(data);
}

/* ---- life ---- */

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct guid scsi0 = storvsp_instance_id(0);
	char error[VM_ERROR_BYTES], path[128];

	assert_non_null(rig);
	*state = rig;
	rig->base.config = (struct vm_config){
		.name = "vm", .cpus = 1, .controller_count = 2, .drive_count = 1
	};
	rig->base.pump = rig_pump;
	vm_rig_init(&rig->base, NULL);
	rig_make_image(rig, "first.raw");
	rig_make_image(rig, "a.raw");
	rig_make_image(rig, "b.raw");
	rig_path_of(rig, "first.raw", path);
	rig->base.config.drives[0].path = path;
	assert_int_equal(cli_vm_drives_open(rig->base.vm, error), 0);
	assert_int_equal(cli_vm_drives_start(rig->base.vm, error), 0);
	vm_rig_listen(&rig->base);
	assert_int_equal(loopback_guest_attach(rig->base.partition, &rig->guest.lo), 0);
	rig->guest.pump = pump;
	rig->guest.pump_arg = rig;
	assert_int_equal(mini_connect(&rig->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&rig->guest), 0);
	assert_int_equal(
		mini_open(&rig->guest, mini_find_offer(&rig->guest, &scsi0, 0), 9, &rig->channel),
		0);
	assert_int_equal(storvsp_guest_init(&rig->channel, STORVSC_VERSION_THRESHOLD), 0);
	for (uint32_t i = 0; i < DEPTH; i++) {
		struct gpa gpa;

		rig->slots[i].page = loopback_guest_alloc_pages(rig->guest.lo, 1, false, &gpa);
		assert_non_null(rig->slots[i].page);
		rig->slots[i].pfn = gpa.value >> HV_PAGE_SHIFT;
	}
	return 0;
}

void rig_end(struct rig *rig)
{
	rig_drop_image(rig, "first.raw");
	rig_drop_image(rig, "a.raw");
	rig_drop_image(rig, "b.raw");
	vm_rig_end(&rig->base);
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	if (rig->base.vm)
		rig_end(rig);
	loopback_guest_detach(rig->guest.lo);
	loopback_destroy(rig->base.partition);
	free(rig);
	return 0;
}
