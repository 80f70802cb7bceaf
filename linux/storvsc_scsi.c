// SPDX-License-Identifier: GPL-2.0-only
/*
 * A SCSI controller as the SCSI layer sees it: commands and what becomes of them, resets, and LUNs
 * that come, go and change.
 *
 * A command's request for the core is in the command's private part, so nothing is allocated on its
 * way, and the page numbers of its data are written from its scatter list straight into the ring.
 * The list has no gaps: that is what virt_boundary_mask is for.
 *
 * Batches. The block layer marks the last command of a batch, or calls commit_rqs; until then the
 * host need not be signalled. A batch may come from several CPUs, since its sender can move, and so
 * lie in several ports. Therefore whoever leaves something unflushed in a port puts that port into
 * the slot of the hardware queue, and whoever takes a port out of a slot flushes it.
 */
#include <linux/blk-mq.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>

#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_devinfo.h>
#include <scsi/scsi_eh.h>

#include "linux/storvsc_host.h"

/* For what the SCSI layer asks of a LUN outside of commands. [policy] */
#define RESET_SECONDS 30
#define TEST_SECONDS 30
/* How long commands may take to come back from a LUN that was reset. [policy] */
#define COME_BACK_MS 1000
/* Of requests that the block layer times itself: we tell it to wait on. As in every storvsc. */
#define BLOCK_TIMEOUT_SECONDS 180

struct storvsc_command {
	struct storvsc_request request;
	struct scsi_cmnd *cmd;
	bool taken; /* not with the SCSI layer */
};

/* A reset that somebody waits for. */
struct storvsc_reset {
	struct storvsc_request request;
	struct completion done;
};

static_assert(SCSI_SENSE_BUFFERSIZE >= STORVSC_SENSE_BYTES);

static struct storvsc_command *to_command(const struct storvsc_request *request)
{
	return container_of(request, struct storvsc_command, request);
}

/* LUNs */

static unsigned int address_of(const struct scsi_device *device)
{
	return (device->channel * STORVSC_TARGETS + device->id) * STORVSC_LUNS +
	       (unsigned int)device->lun;
}

static void note_lun(struct storvsc_host *host, unsigned long *luns, struct scsi_device *device)
{
	set_bit(address_of(device), luns);
	queue_work(system_long_wq, &host->lun_work);
}

static void for_each_noted_lun(struct storvsc_host *host, unsigned long *luns,
			       void (*handle)(struct scsi_device *device))
{
	unsigned int address;

	for_each_set_bit(address, luns, STORVSC_ADDRESSES) {
		unsigned int target = address / STORVSC_LUNS;
		struct scsi_device *device;

		clear_bit(address, luns);
		device = scsi_device_lookup(host->shost, target / STORVSC_TARGETS,
					    target % STORVSC_TARGETS, address % STORVSC_LUNS);
		if (!device)
			continue;
		handle(device);
		scsi_device_put(device);
	}
}

static void lun_is_missing(struct scsi_device *device)
{
	scsi_remove_device(device);
}

static void lun_has_changed(struct scsi_device *device)
{
	scsi_rescan_device(device);
}

static void handle_luns(struct work_struct *work)
{
	struct storvsc_host *host = container_of(work, struct storvsc_host, lun_work);

	for_each_noted_lun(host, host->missing_luns, lun_is_missing);
	for_each_noted_lun(host, host->changed_luns, lun_has_changed);
}

/* The host does not say what came or went. What went is told by a command that fails. */
static void rescan(struct work_struct *work)
{
	struct storvsc_host *host = container_of(work, struct storvsc_host, rescan_work);
	struct scsi_device *device;

	if (!READ_ONCE(host->added) || READ_ONCE(host->removing))
		return;
	mutex_lock(&host->shost->scan_mutex);
	shost_for_each_device(device, host->shost)
		scsi_test_unit_ready(device, TEST_SECONDS * HZ, 1, NULL);
	mutex_unlock(&host->shost->scan_mutex);
	if (!host->is_ide)
		scsi_scan_host(host->shost);
}

void storvsc_scsi_rescan(struct storvsc_host *host)
{
	queue_work(system_long_wq, &host->rescan_work);
}

void storvsc_scsi_init(struct storvsc_host *host)
{
	INIT_WORK(&host->rescan_work, rescan);
	INIT_WORK(&host->lun_work, handle_luns);
}

void storvsc_scsi_fini(struct storvsc_host *host)
{
	cancel_work_sync(&host->rescan_work);
	cancel_work_sync(&host->lun_work);
}

/* The end of a command */

static int result_of_failure(struct scsi_cmnd *cmd, const struct storvsc_request *request)
{
	/* Its sender looks at the registers that the answer has, whatever they say. */
	if (cmd->cmnd[0] == ATA_16 || cmd->cmnd[0] == ATA_12)
		return DID_PASSTHROUGH << 16 | request->scsi_status;
	if (cmd->cmnd[0] != TEST_UNIT_READY)
		dev_warn_ratelimited(&cmd->device->sdev_gendev,
				     "command 0x%02x %s: srb 0x%02x, scsi 0x%02x, host 0x%08x\n",
				     cmd->cmnd[0], storvsc_result_text(request->result),
				     request->srb_status, request->scsi_status,
				     request->host_status);
	/* With the status: the SCSI layer looks for a reservation conflict in it. */
	return DID_ERROR << 16 | request->scsi_status;
}

static int result_of(struct storvsc_host *host, struct scsi_cmnd *cmd,
		     const struct storvsc_request *request)
{
	switch (request->result) {
	case STORVSC_RESULT_SCSI_STATUS:
		memcpy(cmd->sense_buffer, request->sense, request->sense_bytes);
		return request->scsi_status;
	case STORVSC_RESULT_CHANGED:
		note_lun(host, host->changed_luns, cmd->device);
		return DID_REQUEUE << 16;
	case STORVSC_RESULT_NO_LUN:
		/* One that is just being looked for goes by itself. */
		if (cmd->device->sdev_state != SDEV_CREATED)
			note_lun(host, host->missing_luns, cmd->device);
		return DID_NO_CONNECT << 16;
	case STORVSC_RESULT_BUSY:
		return SAM_STAT_BUSY;
	case STORVSC_RESULT_ABORTED:
		return DID_REQUEUE << 16;
	case STORVSC_RESULT_TIMED_OUT:
		/*
		 * Not DID_TIME_OUT: all that its error handler could do has been done. This one is
		 * tried again as often as its sender allows.
		 */
		return DID_SOFT_ERROR << 16;
	case STORVSC_RESULT_GONE:
		return (READ_ONCE(host->dead) ? DID_NO_CONNECT : DID_REQUEUE) << 16;
	default:
		return result_of_failure(cmd, request);
	}
}

void storvsc_scsi_ended(struct storvsc_host *host, struct storvsc_request *request)
{
	struct storvsc_command *command = to_command(request);
	struct scsi_cmnd *cmd;

	if (unlikely(request->kind != STORVSC_COMMAND)) {
		complete(&container_of(request, struct storvsc_reset, request)->done);
		return;
	}
	cmd = command->cmd;
	cmd->result = 0;
	if (unlikely(request->result != STORVSC_RESULT_GOOD))
		cmd->result = result_of(host, cmd, request);
	if (unlikely(request->transferred_bytes != request->data_bytes))
		scsi_set_resid(cmd, request->data_bytes - request->transferred_bytes);
	command->taken = false;
	scsi_dma_unmap(cmd);
	scsi_done(cmd);
}

/* Returns whether nobody can be given this page any more. */
static bool keep_page(struct page *page)
{
	struct folio *folio = page_folio(page);

	return !folio_test_slab(folio) && folio_try_get(folio);
}

/* The command is not unmapped either: its bounce buffers, if it has any, are the host's too. */
unsigned long storvsc_scsi_abandon(struct storvsc_host *host, struct storvsc_request *request)
{
	struct storvsc_command *command = to_command(request);
	struct scsi_cmnd *cmd = command->cmd;
	unsigned long kept = 0;
	struct scatterlist *sg;
	int i;

	scsi_for_each_sg(cmd, sg, scsi_sg_count(cmd), i) {
		unsigned long pfn = page_to_pfn(sg_page(sg)) + (sg->offset >> PAGE_SHIFT);
		unsigned long end = page_to_pfn(sg_page(sg)) +
				    ((sg->offset + sg->length + PAGE_SIZE - 1) >> PAGE_SHIFT);

		for (; pfn < end; pfn++)
			kept += keep_page(pfn_to_page(pfn));
	}
	cmd->result = DID_NO_CONNECT << 16;
	scsi_set_resid(cmd, request->data_bytes);
	command->taken = false;
	scsi_done(cmd);
	return kept;
}

/* The way of a command to the host */

/* For the core, in the middle of storvsc_submit(). */
static void fill_pfns(const struct storvsc_request *request, uint64_t *out_pfns, uint32_t count)
{
	struct scatterlist *sg = scsi_sglist(to_command(request)->cmd);
	uint64_t pfn = 0;

	for (; sg && count; sg = sg_next(sg)) {
		uint64_t end = sg_dma_address(sg) + sg_dma_len(sg) + HV_PAGE_BYTES - 1;

		for (pfn = sg_dma_address(sg) >> HV_PAGE_SHIFT;
		     pfn < end >> HV_PAGE_SHIFT && count; count--)
			*out_pfns++ = pfn++;
	}
	/* What stood in the ring before must not be taken for page numbers. */
	if (WARN_ON_ONCE(count))
		while (count--)
			*out_pfns++ = pfn - 1;
}

/* Returns 0, or -ENOMEM where its data cannot be mapped now. */
static int prepare(struct storvsc_host *host, struct scsi_cmnd *cmd,
		   struct storvsc_request *request)
{
	int count = scsi_dma_map(cmd);

	if (unlikely(count < 0))
		return -ENOMEM;
	request->kind = STORVSC_COMMAND;
	request->path = (uint8_t)cmd->device->channel;
	request->target = (uint8_t)cmd->device->id;
	request->lun = (uint8_t)cmd->device->lun;
	request->cdb_bytes = (uint8_t)cmd->cmd_len;
	memcpy(request->cdb, cmd->cmnd, sizeof(request->cdb));
	request->data_bytes = scsi_bufflen(cmd);
	request->data_offset = 0;
	request->direction = STORVSC_NO_DATA;
	if (count) {
		request->data_offset = sg_dma_address(scsi_sglist(cmd)) & (HV_PAGE_BYTES - 1);
		request->direction = STORVSC_FROM_DEVICE;
		if (cmd->sc_data_direction == DMA_TO_DEVICE)
			request->direction = STORVSC_TO_DEVICE;
	}
	request->pfns = NULL;
	request->fill_pfns = fill_pfns;
	request->deadline_ns = host->timeout_ns ? storvsc_now_ns() + host->timeout_ns : 0;
	return 0;
}

/* Put a port, or nobody, into a queue's slot. Returns who was there and is to be flushed now. */
static struct storvsc_port *swap_unflushed(struct storvsc_queue *queue, struct storvsc_port *port)
{
	struct storvsc_port *before = READ_ONCE(queue->unflushed);

	return before == port ? NULL : xchg(&queue->unflushed, port);
}

/* By the channel that goes with this CPU. Returns 0 or as storvsc_submit(). */
static int send(struct storvsc_host *host, struct storvsc_queue *queue,
		struct storvsc_request *request, bool last)
{
	struct storvsc_channel *core;
	struct storvsc_port *port, *before = NULL;
	int error = -LIS_GONE;

	rcu_read_lock();
	core = storvsc_channel_for_cpu(&host->core, raw_smp_processor_id());
	port = core ? container_of(core, struct storvsc_port, core) : NULL;
	if (last)
		before = swap_unflushed(queue, NULL);
	if (likely(port))
		error = storvsc_port_submit(port, request, last);
	if (unlikely(error == -LIS_GONE)) {
		/* A sub-channel that is about to go: the primary has all LUNs, too. */
		port = rcu_dereference(host->primary);
		if (port)
			error = storvsc_port_submit(port, request, last);
	}
	if (!last && likely(!error))
		before = swap_unflushed(queue, port);
	if (unlikely(before && before != port))
		storvsc_port_flush(before);
	rcu_read_unlock();
	return error;
}

/* It will never be taken, now or later. */
static enum scsi_qc_status refuse(struct scsi_cmnd *cmd, int host_byte)
{
	cmd->result = host_byte << 16;
	scsi_set_resid(cmd, scsi_bufflen(cmd));
	scsi_done(cmd);
	return 0;
}

static enum scsi_qc_status storvsc_queuecommand(struct Scsi_Host *shost, struct scsi_cmnd *cmd)
{
	struct storvsc_host *host = to_storvsc_host(shost);
	struct storvsc_command *command = scsi_cmd_priv(cmd);
	struct storvsc_queue *queue;
	int error;

	if (unlikely(READ_ONCE(host->dead)))
		return refuse(cmd, DID_NO_CONNECT);
	if (unlikely(prepare(host, cmd, &command->request)))
		return SCSI_MLQUEUE_HOST_BUSY;
	queue = &host->queues[scsi_cmd_to_rq(cmd)->mq_hctx->queue_num];
	/* Before it is sent: then it may be back already. */
	command->taken = true;
	error = send(host, queue, &command->request, cmd->flags & SCMD_LAST);
	if (likely(!error))
		return 0;
	command->taken = false;
	scsi_dma_unmap(cmd);
	/* All else passes: there will be room, or another channel, or the host is dead next time. */
	return error == -LIS_INVALID ? refuse(cmd, DID_ERROR) : SCSI_MLQUEUE_HOST_BUSY;
}

static void storvsc_commit_rqs(struct Scsi_Host *shost, u16 number)
{
	struct storvsc_host *host = to_storvsc_host(shost);
	struct storvsc_port *port;

	rcu_read_lock();
	port = swap_unflushed(&host->queues[number], NULL);
	if (port)
		storvsc_port_flush(port);
	rcu_read_unlock();
}

static int storvsc_init_cmd_priv(struct Scsi_Host *shost, struct scsi_cmnd *cmd)
{
	struct storvsc_command *command = scsi_cmd_priv(cmd);

	command->cmd = cmd;
	command->taken = false;
	return 0;
}

/* What is late */

/* Storage of the host may take its time. What is too late, we find ourselves, by the deadline. */
static enum scsi_timeout_action storvsc_eh_timed_out(struct scsi_cmnd *cmd)
{
	return SCSI_EH_RESET_TIMER;
}

/* Returns whether the host says that it has reset the LUN. */
static bool reset_lun(struct storvsc_host *host, const struct scsi_device *device)
{
	struct storvsc_reset reset = {
		.request = {
			.kind = STORVSC_LUN_RESET,
			.path = (uint8_t)device->channel,
			.target = (uint8_t)device->id,
			.lun = (uint8_t)device->lun,
			.deadline_ns = storvsc_now_ns() + RESET_SECONDS * NSEC_PER_SEC,
		},
	};
	struct storvsc_port *port;
	int error = -LIS_GONE;

	init_completion(&reset.done);
	rcu_read_lock();
	port = rcu_dereference(host->primary);
	if (port)
		error = storvsc_port_submit(port, &reset.request, true);
	rcu_read_unlock();
	if (error)
		return false;
	/* It ends in any case: when it is late, or with the channel. */
	wait_for_completion(&reset.done);
	return reset.request.result == STORVSC_RESULT_GOOD;
}

static int storvsc_reset_device(struct scsi_cmnd *cmd)
{
	struct storvsc_host *host = to_storvsc_host(cmd->device->host);
	struct storvsc_command *command = scsi_cmd_priv(cmd);

	if (READ_ONCE(host->dead) || !reset_lun(host, cmd->device))
		return FAILED;
	/* Where we say SUCCESS the command will be used for something else. */
	for (unsigned int ms = 0; READ_ONCE(command->taken); ms += 10) {
		if (ms >= COME_BACK_MS)
			return FAILED;
		msleep(10);
	}
	/* Whoever gives it back has done so. */
	synchronize_rcu();
	return SUCCESS;
}

static int storvsc_reset_host(struct scsi_cmnd *cmd)
{
	return storvsc_host_reset(to_storvsc_host(cmd->device->host)) ? FAILED : SUCCESS;
}

/* Devices */

static int storvsc_sdev_init(struct scsi_device *device)
{
	/* The SCSI layer takes max_lun for a LUN that is allowed where the host reports it. */
	if (device->channel >= STORVSC_PATHS || device->id >= STORVSC_TARGETS ||
	    device->lun >= STORVSC_LUNS)
		return -ENXIO;
	/* They call themselves older than they are, and know VPD pages and REPORT LUNS all the same. */
	device->sdev_bflags = BLIST_REPORTLUN2 | BLIST_TRY_VPD_PAGES;
	return 0;
}

/* Source: [linux 6.1 drivers/scsi/storvsc_drv.c storvsc_device_configure] */
static int storvsc_sdev_configure(struct scsi_device *device, struct queue_limits *limits)
{
	struct storvsc_host *host = to_storvsc_host(device->host);
	u16 version = host->core.version;

	blk_queue_rq_timeout(device->request_queue, BLOCK_TIMEOUT_SECONDS * HZ);
	device->no_report_opcodes = 1;
	device->no_write_same = 1;
	/* Disks of the host's own, not such as it passes through. */
	if (!strncmp(device->vendor, "Msft", 4)) {
		if (version == STORVSC_VERSION_WIN8 || version == STORVSC_VERSION_BLUE)
			device->scsi_level = SCSI_SPC_3;
		if (version >= STORVSC_VERSION_THRESHOLD)
			device->no_write_same = 0;
	}
	return 0;
}
COMPAT_SDEV_CONFIGURE(storvsc_sdev_configure)

static int storvsc_change_queue_depth(struct scsi_device *device, int depth)
{
	return scsi_change_queue_depth(device, min(depth, device->host->can_queue));
}

struct scsi_host_template storvsc_template = {
	.module = THIS_MODULE,
	.name = "storvsc_host_t",
	.proc_name = "storvsc_host",
	.cmd_size = sizeof(struct storvsc_command),
	.init_cmd_priv = storvsc_init_cmd_priv,
	.queuecommand = storvsc_queuecommand,
	.commit_rqs = storvsc_commit_rqs,
	.eh_timed_out = storvsc_eh_timed_out,
	.eh_device_reset_handler = storvsc_reset_device,
	.eh_host_reset_handler = storvsc_reset_host,
	.sdev_init = storvsc_sdev_init,
	.sdev_configure = compat_sdev_configure(storvsc_sdev_configure),
	.change_queue_depth = storvsc_change_queue_depth,
	.track_queue_depth = 1,
	.this_id = -1,
	.virt_boundary_mask = HV_PAGE_BYTES - 1,
	/* One set of tags for all hardware queues: no channel's table can overflow then. */
	.host_tagset = 1,
};
